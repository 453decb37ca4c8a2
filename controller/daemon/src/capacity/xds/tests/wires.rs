//! A proxy at the end of wires that keep order and take their time: whatever crosses, in the end it has what there is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const SERVICES: [&str; 3] = ["cart", "shop", "till"];

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A service has other endpoints.
    Change(usize),
    /// The proxy wants these services, by bit.
    Want(u8),
    /// A request arrives at the controller.
    Hear,
    /// A response arrives at the proxy, which takes it or not.
    Receive { takes: bool },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..SERVICES.len()).prop_map(Event::Change),
        (1_u8..8).prop_map(Event::Want),
        Just(Event::Hear),
        Just(Event::Hear),
        any::<bool>().prop_map(|takes| Event::Receive { takes }),
        Just(Event::Receive { takes: true }),
    ]
}

/// Envoy, as far as the protocol goes.
#[derive(Default)]
struct Proxy {
    wants: BTreeSet<&'static str>,
    nonce: String,
    /// What it uses, as bytes.
    has: BTreeMap<String, Vec<u8>>,
    refused: BTreeSet<Vec<u8>>,
}

impl Proxy {
    fn request(&self) -> DiscoveryRequest {
        asking(&self.wants.iter().copied().collect::<Vec<_>>(), &self.nonce)
    }

    fn receive(&mut self, response: DiscoveryResponse, takes: bool) -> DiscoveryRequest {
        self.nonce.clone_from(&response.nonce);
        for (name, any) in told(&response).into_iter().zip(&response.resources) {
            if !takes {
                self.refused.insert(any.value.clone());
            } else if self.wants.contains(name.as_str()) {
                self.has.insert(name, any.value.clone());
            }
        }
        let error_detail = (!takes).then(|| ErrorDetail { code: 3, message: "no".to_owned() });
        DiscoveryRequest { error_detail, ..self.request() }
    }
}

struct World {
    ports: [u16; 3],
    stream: StateOfTheWorld,
    proxy: Proxy,
    to_stream: VecDeque<DiscoveryRequest>,
    to_proxy: VecDeque<DiscoveryResponse>,
    responses: usize,
}

impl World {
    fn resources(&self) -> Resources {
        let ports = self.ports.map(|port| [port]);
        let services: Vec<(&str, &[u16])> =
            SERVICES.iter().zip(&ports).map(|(name, port)| (*name, &port[..])).collect();
        resources(&services)
    }

    fn live(&mut self, event: Event) {
        match event {
            Event::Change(service) => self.ports[service] += 1,
            Event::Want(bits) => {
                let wanted = SERVICES.into_iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0);
                self.proxy.wants = wanted.map(|(_, name)| name).collect();
                let Proxy { wants, has, .. } = &mut self.proxy;
                has.retain(|name, _| wants.contains(name.as_str()));
                self.to_stream.push_back(self.proxy.request());
            }
            Event::Hear => {
                if let Some(request) = self.to_stream.pop_front() {
                    self.stream.hear(request).unwrap();
                }
            }
            Event::Receive { takes } => {
                if let Some(response) = self.to_proxy.pop_front() {
                    self.to_stream.push_back(self.proxy.receive(response, takes));
                }
            }
        }
        if let Some(response) = self.stream.say(&self.resources()) {
            self.responses += 1;
            self.to_proxy.push_back(response);
        }
    }
}

proptest! {
    #[test]
    fn in_the_end_the_proxy_has_what_there_is(events in prop::collection::vec(event(), 0..40)) {
        let mut world = World {
            ports: [1, 2001, 4001],
            stream: StateOfTheWorld::default(),
            proxy: Proxy::default(),
            to_stream: VecDeque::new(),
            to_proxy: VecDeque::new(),
            responses: 0,
        };
        let causes = events.iter().filter(|event| matches!(event, Event::Change(_) | Event::Want(_))).count();
        for event in events {
            world.live(event);
            prop_assert!(world.to_proxy.len() <= 1, "one response under way");
        }
        // The wires run empty: each round moves everything one step on.
        for _ in 0..200 {
            world.live(Event::Hear);
            world.live(Event::Receive { takes: true });
        }
        prop_assert!(world.to_stream.is_empty() && world.to_proxy.is_empty(), "it goes on and on");
        prop_assert!(world.responses <= causes, "{} responses to {causes} causes", world.responses);
        let there = world.resources();
        for name in &world.proxy.wants {
            let newest = &there.by_name[*name].body.value;
            prop_assert!(
                world.proxy.has.get(*name) == Some(newest) || world.proxy.refused.contains(newest),
                "{name} is out of date"
            );
        }
    }
}
