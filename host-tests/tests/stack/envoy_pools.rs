//! On the real Envoy: two tenants of one pool. What the owner leaves idle is lent to its guest in the lane `borrowed`;
//! when the owner comes it has its reservation at once, whatever the guest asks for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use forebay_host_tests::client::Connection;
use forebay_host_tests::poll;
use forebay_protocol::v1::{Grant, Limit, Slot};
use serde_json::json;

use super::envoy_rig::{DEADLINE, Rig, of, outcome, policy};
use super::envoy_scripted::{Scripted, grant, table};

const RESERVED_PER_S: u64 = 40;
const OWNERS_BURST: u64 = 4;
const DEBT: u64 = 20;
/// Each of the two workers may hold a lease of one request in either bucket.
const LEASES: u64 = 4;
const CONTESTED: Duration = Duration::from_secs(2);

fn reservation() -> Grant {
    let pace = Limit { rate_milli_per_s: RESERVED_PER_S * 1_000, burst: OWNERS_BURST };
    let slot = Slot { id: 1, starts_in_ms: 0, length_ms: 600_000, amount: RESERVED_PER_S * 600, pace };
    Grant { slots: vec![slot], ..grant("owner", 0, 0) }
}

async fn ask(connection: &mut Connection, tenant: &str) -> Result<String> {
    Ok(outcome(&connection.send(&of(tenant)).await?))
}

#[tokio::test]
async fn an_idle_reservation_is_lent_and_its_owner_gets_it_at_once() -> Result<()> {
    let mut controller = Scripted::start().await?;
    let mut document = policy(&[("owner", 0, 0), ("guest", 0, 0)]);
    document["policy"]["resources"][0]["pool"] = json!({ "name": "main", "borrow": true, "debt": DEBT });
    let rig = Rig::start(document, Some(controller.address())).await?;
    let [mut of_guest, mut of_owner] = rig.connect_to_both().await?;
    assert_eq!(ask(&mut of_guest, "guest").await?, "429", "nothing is reserved yet");
    let reserved_since = controller.push(table(1, 600_000, vec![reservation()])).await?;
    // The owner stays away: the guest is served from what it leaves, until nothing is left.
    let mut borrowed = 0;
    while reserved_since.elapsed() < DEADLINE {
        match (ask(&mut of_guest, "guest").await?.as_str(), borrowed) {
            ("borrowed", _) => borrowed += 1,
            ("429", DEBT..) => break,
            // Before anything is left over, and once the first of it is taken faster than it arrives.
            ("429", _) => tokio::time::sleep(Duration::from_millis(200)).await,
            (other, _) => panic!("{other}: {}", rig.envoy.log()),
        }
    }
    assert!(borrowed >= DEBT, "{borrowed} borrowed: {}", rig.envoy.log());
    // The pool is empty, and the owner comes.
    for number in 0..OWNERS_BURST {
        assert_eq!(ask(&mut of_owner, "owner").await?, "reserved", "request {number} of a burst that is reserved");
    }
    let began = Instant::now();
    let load = async |connection: &mut Connection, tenant: &str| -> Result<BTreeMap<String, u64>> {
        let mut lanes = BTreeMap::new();
        while began.elapsed() < CONTESTED {
            *lanes.entry(ask(connection, tenant).await?).or_default() += 1;
        }
        Ok(lanes)
    };
    let (owner, guest) = tokio::try_join!(load(&mut of_owner, "owner"), load(&mut of_guest, "guest"))?;
    let elapsed_ms = began.elapsed().as_millis() as u64;
    println!("{borrowed} borrowed while idle; contested for {elapsed_ms} ms: owner {owner:?}, guest {guest:?}");
    let reserved = owner.get("reserved").copied().unwrap_or(0);
    assert!(reserved * 10 >= RESERVED_PER_S * elapsed_ms / 1_000 * 9, "{reserved} of what is the owner's");
    let lent = guest.get("borrowed").copied().unwrap_or(0);
    assert!(lent * 4 <= reserved, "{lent} lent beside {reserved}");
    let admitted = borrowed + OWNERS_BURST + reserved + lent;
    let arrived = RESERVED_PER_S * reserved_since.elapsed().as_millis() as u64 / 1_000 + 1;
    assert!(admitted <= arrived + DEBT + OWNERS_BURST + LEASES, "{admitted} of {arrived}");
    // The upstream sees the lane, and the proxy counts it.
    let upstream = rig.upstream.counts();
    assert_eq!(upstream.get(&("guest".into(), "borrowed".into())).copied(), Some(borrowed + lent), "{upstream:?}");
    poll::until("borrowed requests in the stats", DEADLINE, async || {
        Ok((rig.filter_stat("requests.borrowed").await? == borrowed + lent).then_some(()))
    })
    .await
}
