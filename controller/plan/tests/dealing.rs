//! The dealer against proxies that hear late, hear in the wrong order, fall silent, restart and come back: what they
//! may really be using never sums to more than the contract.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_plan::{Dealer, Grant, Hand, Key, Limit, Mark, Plan, Recent, Seen};
use proptest::prelude::*;

const VALIDITY: Duration = Duration::from_secs(10);
const TOTAL: Limit = Limit { rate_milli_per_s: 1_000_000, burst: 600 };
const PROXIES: usize = 6;
/// Longest times that a filter waits for the answers to a watch and to a report.
const WATCH_WAIT: Duration = Duration::from_secs(30);
const REPORT_WAIT: Duration = Duration::from_secs(5);

fn plan() -> Arc<Plan> {
    let grant = Grant { key: Key::new("shop", "requests"), standard: TOTAL, forecast_version: 0, slots: vec![] };
    Arc::new(Plan { grants: vec![grant], ..Plan::default() })
}

/// A proxy as it really is.
#[derive(Clone, Debug, Default)]
struct Proxy {
    boot: u64,
    in_force: Option<Arc<Hand>>,
    expires: Duration,
    /// Answers under way, each until nobody waits for it any more.
    arriving: Vec<(Duration, Arc<Hand>)>,
    renewals: Vec<(Duration, Mark)>,
    silent_until: Duration,
}

impl Proxy {
    fn using(&self, now: Duration) -> Limit {
        match &self.in_force {
            None => Limit::default(),
            Some(hand) if now < self.expires => hand.shares[0].standard,
            Some(hand) => hand.shares[0].safe,
        }
    }

    fn mark(&self) -> Mark {
        self.in_force.as_ref().map_or(Mark::default(), |hand| hand.mark)
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// Everything that is under way to a proxy arrives, or is lost.
    Arrive {
        proxy: usize,
        lost: bool,
    },
    Report {
        proxy: usize,
    },
    Watch {
        proxy: usize,
    },
    /// No contact for a while.
    Silence {
        proxy: usize,
        s: u64,
    },
    Restart {
        proxy: usize,
    },
    Demand {
        proxy: usize,
        per_s: u64,
    },
    Pass {
        ms: u64,
    },
    /// The controller starts anew, knowing the proxies by name.
    Controller,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let proxy = || 0..PROXIES;
    let event = prop_oneof![
        8 => (proxy(), prop::bool::weighted(0.2)).prop_map(|(proxy, lost)| Event::Arrive { proxy, lost }),
        8 => proxy().prop_map(|proxy| Event::Report { proxy }),
        8 => proxy().prop_map(|proxy| Event::Watch { proxy }),
        1 => (proxy(), 1..60_u64).prop_map(|(proxy, s)| Event::Silence { proxy, s }),
        1 => proxy().prop_map(|proxy| Event::Restart { proxy }),
        3 => (proxy(), 0..2_000_u64).prop_map(|(proxy, per_s)| Event::Demand { proxy, per_s }),
        12 => (1..2_000_u64).prop_map(|ms| Event::Pass { ms }),
    ];
    prop::collection::vec(event, 1..400)
}

struct Mesh {
    dealer: Dealer,
    plan: Arc<Plan>,
    proxies: Vec<Proxy>,
    heard: BTreeMap<String, Duration>,
    recent: Recent,
    now: Duration,
    epoch: u64,
}

impl Mesh {
    fn new() -> Self {
        Self {
            dealer: Dealer::new(VALIDITY, 1),
            plan: plan(),
            proxies: vec![Proxy { boot: 1, ..Proxy::default() }; PROXIES],
            heard: BTreeMap::new(),
            recent: Recent::new(),
            now: Duration::from_secs(100),
            epoch: 1,
        }
    }

    fn hand(&self, name: &str) -> Option<Arc<Hand>> {
        self.dealer.hands().find(|(known, _)| *known == name).map(|(_, hand)| Arc::clone(hand))
    }

    fn apply(&mut self, event: &Event) {
        let now = self.now;
        let name = |proxy: usize| format!("p{proxy}");
        match *event {
            Event::Pass { ms } => self.now += Duration::from_millis(ms),
            Event::Silence { proxy, s } => self.proxies[proxy].silent_until = now + Duration::from_secs(s),
            Event::Restart { proxy } => {
                let boot = self.proxies[proxy].boot + 1;
                self.proxies[proxy] = Proxy { boot, ..Proxy::default() };
            }
            Event::Demand { proxy, per_s } => {
                let seen = Seen { key: 0, offered_milli_per_s: per_s * 1_000, standard_milli_per_s: 0, cost: 1 };
                self.recent.insert(name(proxy), vec![seen]);
            }
            Event::Report { proxy } if now >= self.proxies[proxy].silent_until => {
                let (boot, mark) = (self.proxies[proxy].boot, self.proxies[proxy].mark());
                self.heard.insert(name(proxy), now);
                self.dealer.heard(&name(proxy), boot, mark, now);
                let renewed = self.dealer.renew(&name(proxy), mark, now);
                self.proxies[proxy].renewals.push((now + REPORT_WAIT, renewed));
            }
            Event::Watch { proxy } if now >= self.proxies[proxy].silent_until => {
                let (boot, mark) = (self.proxies[proxy].boot, self.proxies[proxy].mark());
                self.heard.insert(name(proxy), now);
                self.dealer.heard(&name(proxy), boot, mark, now);
                if let Some(hand) = self.hand(&name(proxy)).filter(|hand| hand.mark > mark)
                    && self.dealer.serve(&name(proxy), hand.mark, now)
                {
                    self.proxies[proxy].arriving.push((now + WATCH_WAIT, hand));
                }
            }
            Event::Arrive { proxy, lost } => {
                let proxy = &mut self.proxies[proxy];
                let (hands, renewals) = (std::mem::take(&mut proxy.arriving), std::mem::take(&mut proxy.renewals));
                for (waited_for, hand) in hands.into_iter().filter(|_| !lost) {
                    if now < waited_for && hand.mark > proxy.mark() {
                        proxy.expires = now + VALIDITY;
                        proxy.in_force = Some(hand);
                    }
                }
                let renewed = renewals.iter().any(|&(waited_for, mark)| now < waited_for && mark == proxy.mark());
                if !lost && proxy.in_force.is_some() && renewed {
                    proxy.expires = now + VALIDITY;
                }
            }
            Event::Controller => {
                self.epoch += 1;
                self.dealer = Dealer::new(VALIDITY, self.epoch);
                let known = self.heard.iter().map(|(name, at)| (name.clone(), now - *at)).collect::<Vec<_>>();
                self.dealer.remember(known, now);
            }
            Event::Report { .. } | Event::Watch { .. } => {}
        }
        let fresh = |at: &Duration| self.now - *at < Duration::from_secs(3);
        let live: Vec<String> = self.heard.iter().filter(|(_, at)| fresh(at)).map(|(name, _)| name.clone()).collect();
        self.dealer.deal(&self.plan, &live, &self.recent, self.now);
        for proxy in &mut self.proxies {
            if self.now >= proxy.silent_until && proxy.silent_until > Duration::ZERO {
                proxy.arriving.clear();
                proxy.renewals.clear();
                proxy.silent_until = Duration::ZERO;
            }
        }
    }

    fn in_use(&self) -> Limit {
        let all = self.proxies.iter().map(|proxy| proxy.using(self.now));
        all.fold(Limit::default(), |sum, one| Limit {
            rate_milli_per_s: sum.rate_milli_per_s + one.rate_milli_per_s,
            burst: sum.burst + one.burst,
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_is_in_force_never_sums_to_more_than_the_contract(events in events()) {
        let mut mesh = Mesh::new();
        for event in &events {
            mesh.apply(event);
            let used = mesh.in_use();
            prop_assert!(used.rate_milli_per_s <= TOTAL.rate_milli_per_s, "{event:?}: {used:?}");
            prop_assert!(used.burst <= TOTAL.burst, "{event:?}: {used:?}");
        }
    }
}

/// Everybody reports, watches and hears at once.
fn round(mesh: &mut Mesh) {
    for proxy in 0..PROXIES {
        for event in [Event::Report { proxy }, Event::Watch { proxy }, Event::Arrive { proxy, lost: false }] {
            mesh.apply(&event);
        }
    }
    mesh.apply(&Event::Pass { ms: 1_000 });
}

fn rates(mesh: &Mesh) -> Vec<u64> {
    mesh.proxies.iter().map(|proxy| proxy.using(mesh.now).rate_milli_per_s / 1_000).collect()
}

#[test]
fn shares_follow_demand_within_a_few_rounds_and_stay_when_it_is_steady() {
    let mut mesh = Mesh::new();
    (0..4).for_each(|_| round(&mut mesh));
    assert_eq!(rates(&mesh).iter().sum::<u64>() / 10, 99, "all of it but rounding: {:?}", rates(&mesh));
    mesh.apply(&Event::Demand { proxy: 2, per_s: 5_000 });
    (0..4).for_each(|_| round(&mut mesh));
    assert!(rates(&mesh)[2] >= 950, "{:?}", rates(&mesh));
    let before = mesh.dealer.newest_mark();
    for noise in 0..20 {
        mesh.apply(&Event::Demand { proxy: 2, per_s: 4_000 + 100 * (noise % 7) });
        round(&mut mesh);
    }
    assert_eq!(mesh.dealer.newest_mark(), before, "noise deals nothing");
}

#[test]
fn what_is_told_anew_reaches_everybody_once_and_moves_no_share() {
    let mut mesh = Mesh::new();
    (0..4).for_each(|_| round(&mut mesh));
    let (shares, marks) = (rates(&mesh), |mesh: &Mesh| mesh.proxies.iter().map(Proxy::mark).collect::<Vec<_>>());
    let before = marks(&mesh);
    // Proxy 0 has a hand under way and takes no other until it has heard of that.
    mesh.dealer.tell_anew();
    mesh.apply(&Event::Watch { proxy: 0 });
    mesh.dealer.tell_anew();
    (0..3).for_each(|_| round(&mut mesh));
    let after = marks(&mesh);
    assert!(before.iter().zip(&after).all(|(before, after)| before < after), "{before:?} {after:?}");
    assert_eq!(rates(&mesh), shares);
    (0..3).for_each(|_| round(&mut mesh));
    assert_eq!(marks(&mesh), after, "once");
}

#[test]
fn after_a_restart_everybody_goes_on_with_what_it_has() {
    let mut mesh = Mesh::new();
    mesh.apply(&Event::Demand { proxy: 2, per_s: 5_000 });
    (0..6).for_each(|_| round(&mut mesh));
    let before = rates(&mesh);
    mesh.apply(&Event::Controller);
    for proxy in 0..PROXIES {
        mesh.apply(&Event::Report { proxy });
        mesh.apply(&Event::Arrive { proxy, lost: false });
    }
    assert!(mesh.dealer.is_learning());
    assert_eq!(rates(&mesh), before);
    let seen = Seen { key: 0, offered_milli_per_s: 5_000_000, standard_milli_per_s: 950_000, cost: 1 };
    mesh.recent.insert("p2".to_owned(), vec![seen]);
    for _ in 0..8 {
        round(&mut mesh);
        assert!(rates(&mesh)[2] >= 940, "it never loses what it uses: {:?}", rates(&mesh));
    }
    assert!(!mesh.dealer.is_learning());
    assert!(mesh.proxies.iter().all(|proxy| proxy.mark().epoch == 2), "everybody is dealt by the new controller");
}

/// Proxy 2 has nearly all and falls silent for so long; from now on proxy 3 asks for it.
fn with_the_busy_one_silent(s: u64) -> Mesh {
    let mut mesh = Mesh::new();
    mesh.apply(&Event::Demand { proxy: 2, per_s: 5_000 });
    (0..6).for_each(|_| round(&mut mesh));
    mesh.apply(&Event::Silence { proxy: 2, s });
    mesh.recent.remove("p2");
    mesh.apply(&Event::Demand { proxy: 3, per_s: 5_000 });
    mesh
}

#[test]
fn a_silent_proxy_keeps_its_share_until_its_validity_is_over_and_then_its_safe_share() {
    let mut mesh = with_the_busy_one_silent(500);
    (0..6).for_each(|_| round(&mut mesh));
    assert!(rates(&mesh)[3] < 50, "the silent one may still use its share: {:?}", rates(&mesh));
    (0..50).for_each(|_| round(&mut mesh));
    assert_eq!(rates(&mesh)[2], 166, "an equal share is safe");
    assert!(rates(&mesh)[3] >= 790, "{:?}", rates(&mesh));
}

#[test]
fn a_share_whose_validity_is_over_is_not_renewed_when_the_hand_after_it_is_lost() {
    let mut mesh = with_the_busy_one_silent(60);
    (0..60).for_each(|_| round(&mut mesh));
    for event in [Event::Watch { proxy: 2 }, Event::Arrive { proxy: 2, lost: true }, Event::Report { proxy: 2 }] {
        mesh.apply(&event);
    }
    mesh.apply(&Event::Arrive { proxy: 2, lost: false });
    assert_eq!(rates(&mesh)[2], 166, "still its safe share");
    assert!(mesh.in_use().rate_milli_per_s <= TOTAL.rate_milli_per_s, "{:?}", mesh.in_use());
}
