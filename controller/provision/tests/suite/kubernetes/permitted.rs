//! What the manager may do is what it does: every right of the manifest is used, and none beside them; what it did is said once.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use forebay_plan::capacity::Group;
use forebay_provision::InstanceManager;
use forebay_provision::kubernetes::Placeholders;

use super::rights::{self, Rights};
use super::{OnKubernetes, api, order};
use crate::driver::Driver;
use crate::subject::{Subject, other, steady};

/// Every test's manager is held to the manifest by the fake; here a life in which all of it is used.
#[tokio::test]
async fn no_right_is_given_that_is_not_used() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    let room = Placeholders {
        shape: "Small".to_owned(),
        count: 1,
        priority_class: "forebay-placeholder".to_owned(),
        image: "registry.k8s.io/pause:3.10".to_owned(),
    };
    driver
        .subject
        .reconfigure(|settings| {
            settings.pools[0].placeholders = Some(room);
            settings.pools[0].node_pool = Some("nodes".to_owned());
        })
        .await?;
    let key = ("karpenter.sh".to_owned(), "nodepools".to_owned(), String::new(), "nodes".to_owned());
    driver.subject.api.world().store.put(key, serde_json::json!({ "metadata": {}, "spec": {} }));
    driver.subject.api.world().store.resize = api::Resize::Known;
    let bigger = Group { shape: "Large".to_owned(), ..steady() };
    for targets in [vec![(steady(), 3), (other(), 1)], vec![(steady(), 1)], vec![(bigger, 1)], vec![]] {
        driver.order(&targets).await?;
        for _ in 0..4 {
            driver.subject.pause().await;
            driver.repeat().await?;
        }
    }
    driver.subject.manager().observe().await?;
    ensure!(driver.subject.manager().troubles().is_empty(), "{:?}", driver.subject.manager().troubles());
    let asked = driver.subject.api.world().asked.clone();
    let used: BTreeSet<_> = asked.iter().map(rights::of).collect();
    let given: BTreeSet<_> = Rights::read()?.0.into_keys().collect();
    let idle: Vec<_> = given.difference(&used).collect();
    ensure!(idle.is_empty(), "given and never used: {idle:?}");
    let missing: Vec<_> = used.difference(&given).collect();
    ensure!(missing.is_empty(), "used and not given: {missing:?}");
    let named = driver.subject.api.world().config_maps.clone();
    ensure!(Rights::read()?.config_maps() == named, "the ConfigMaps that are used are those that are named: {named:?}");
    Ok(())
}

#[tokio::test]
async fn what_was_done_is_said_once() -> Result<()> {
    let subject = OnKubernetes::set_up().await?;
    subject.refuse_starts(&other(), true);
    for sequence in 1..4 {
        subject.manager().apply(&order(sequence, &[(steady(), 2), (other(), 1)])).await?;
    }
    subject.manager().apply(&order(4, &[(steady(), 1), (other(), 1)])).await?;
    let world = subject.api.world();
    let events = api::objects(&world.store, "events");
    let mut reasons: Vec<&str> = events.iter().filter_map(|(_, event)| event["reason"].as_str()).collect();
    reasons.sort_unstable();
    ensure!(reasons == ["CapacityMissing", "ScaledDown", "ScaledUp", "ScaledUp"], "{events:#?}");
    Ok(())
}

/// Who was seen is written down for the next controller only: where that cannot be, all else goes on.
#[tokio::test]
async fn who_was_seen_and_cannot_be_written_down_is_said() -> Result<()> {
    let mut driver = Driver::<OnKubernetes>::set_up().await?;
    let numbered = |name: &String| name.starts_with("forebay-seen");
    if let Some(rights) = &mut driver.subject.api.world().rights {
        for names in rights.0.values_mut() {
            // Reading stays.
            names.retain(|name| !numbered(name));
        }
        rights.0.retain(|(_, resource, verb, _), _| resource != "configmaps" || verb != "create");
        let reading = (String::new(), "configmaps".to_owned(), "get".to_owned(), true);
        rights.0.insert(reading, BTreeSet::new());
    }
    let ledger = ("".to_owned(), "configmaps".to_owned(), super::NAMESPACE.to_owned(), "forebay-order".to_owned());
    driver.subject.api.world().store.put(ledger, serde_json::json!({ "metadata": {} }));
    driver.order(&[(steady(), 2)]).await?;
    driver.settle().await?;
    let troubles = driver.subject.manager().troubles();
    ensure!(troubles.iter().any(|said| said.contains("write who was seen")), "{troubles:?}");
    Ok(())
}
