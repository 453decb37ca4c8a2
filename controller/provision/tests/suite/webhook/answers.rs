//! What a webhook believes, how often it tries, and what it cannot be told to do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use forebay_plan::capacity::{Generation, Target};
use forebay_provision::protocol::{MAX_BODY_BYTES, REPLAY_WINDOW};
use forebay_provision::{
    InstanceManager, Order, ProvisionError, REWINDS_MAX, Retries, Secret, TlsSettings, Webhook, WebhookSettings,
};
use hyper::StatusCode;
use serde_json::{Value, json};

use super::receiver::{Receiver, locked, secret};
use super::{NOW_S, Remotely, manager, patient, settings};
use crate::driver::{Driver, ready};
use crate::subject::{Remote, Subject, other, steady};

type Distort = fn(&mut Value);

fn order(sequence: u64, count: u32) -> Order {
    let targets = vec![Target { group: steady(), count }];
    Order { generation: Generation { epoch: 1, sequence }, targets, ..Order::default() }
}

#[tokio::test]
async fn views_that_make_no_sense_are_named() -> Result<()> {
    let cases: [(&str, Distort); 11] = [
        ("there twice", |view| {
            let first = view["instances"][0].clone();
            view["instances"].as_array_mut().expect("a list").push(first);
        }),
        ("an id of 0 bytes", |view| view["instances"][0]["id"] = "".into()),
        ("an id of 300 bytes", |view| view["instances"][0]["id"] = "i".repeat(300).into()),
        ("unknown variant", |view| view["instances"][0]["state"] = "asleep".into()),
        ("no ready_ms", |view| {
            view["instances"][0]["state"] = "ready".into();
            view["instances"][0]["ready_ms"] = Value::Null;
        }),
        ("before it was asked for", |view| {
            view["instances"][0]["requested_ms"] = 10.into();
            view["instances"][0]["ready_ms"] = 9.into();
        }),
        ("missing field", |view| view["instances"] = json!([{}])),
        ("invalid value", |view| view["revision"] = (-1).into()),
        ("invalid socket address", |view| view["instances"][0]["address"] = "somewhere".into()),
        ("it answers request", |view| view["request"] = "another".into()),
        ("longer than", |view| view["padding"] = " ".repeat(MAX_BODY_BYTES).into()),
    ];
    let receiver = Receiver::start(NOW_S).await?;
    let manager = manager(patient(&receiver))?;
    let driver = &mut Driver::of(Remotely { manager, receiver });
    driver.order(&[(steady(), 1)]).await?;
    driver.settle().await?;
    for (expected, distort) in cases {
        driver.subject.state().distortion = Some(Box::new(distort));
        let refused = driver.subject.manager().observe().await;
        let Err(ProvisionError::Malformed { detail, .. }) = &refused else { anyhow::bail!("{expected}: {refused:?}") };
        ensure!(detail.contains(expected), "{expected}: {detail}");
    }
    // Nothing of it stuck, and what is not known is passed over.
    driver.subject.state().distortion = Some(Box::new(|view| view["of_a_later_version"] = true.into()));
    driver.settle().await?;
    Ok(())
}

#[tokio::test]
async fn outcomes_that_make_no_sense_are_named() -> Result<()> {
    fn failure(pool: &str) -> Value {
        json!({"service": "web", "pool": pool, "shape": "Small", "kind": "failed", "detail": "no"})
    }
    let cases: [(&str, Distort); 5] = [
        ("it took another order", |outcome| outcome["generation"]["sequence"] = 7.into()),
        ("it started 9 where 1 were asked for", |outcome| outcome["started"] = 9.into()),
        ("nothing was asked of", |outcome| outcome["failures"] = json!([failure("elsewhere")])),
        ("failed twice", |outcome| outcome["failures"] = json!([failure("reserved"), failure("reserved")])),
        ("invalid type", |outcome| outcome["failures"] = "none".into()),
    ];
    let receiver = Receiver::start(NOW_S).await?;
    let manager = Webhook::new(patient(&receiver), || NOW_S)?;
    for (expected, distort) in cases {
        locked(&receiver.state).distortion = Some(Box::new(distort));
        let refused = manager.apply(&order(1, 1)).await;
        let Err(ProvisionError::Malformed { detail, .. }) = &refused else { anyhow::bail!("{expected}: {refused:?}") };
        ensure!(detail.contains(expected), "{expected}: {detail}");
    }
    // Refused for an order that is not newer.
    manager.apply(&order(2, 1)).await?;
    locked(&receiver.state).distortion = Some(Box::new(|refused| refused["taken"]["sequence"] = 0.into()));
    let refused = manager.apply(&order(1, 1)).await;
    ensure!(matches!(refused, Err(ProvisionError::Malformed { .. })), "{refused:?}");
    ensure!(locked(&receiver.state).fleet.ever_started(&steady()) == 1);
    Ok(())
}

#[tokio::test]
async fn only_who_knows_the_secret_is_obeyed_or_believed() -> Result<()> {
    let receiver = Receiver::start(NOW_S).await?;
    let stranger = Secret::new(vec![1; 32])?;
    let wrong = Webhook::new(WebhookSettings { secret: stranger, ..settings(&receiver) }, || NOW_S)?;
    let refused = wrong.apply(&order(1, 1)).await;
    let Err(ProvisionError::Malformed { detail, .. }) = refused else { anyhow::bail!("{refused:?}") };
    ensure!(detail.contains("do both sides have one secret?"), "{detail}");

    let window_s = REPLAY_WINDOW.as_secs();
    for (now_s, is_taken) in [(NOW_S - window_s - 1, false), (NOW_S + window_s + 1, false), (NOW_S - window_s, true)] {
        let late = Webhook::new(settings(&receiver), move || now_s)?;
        ensure!(late.apply(&order(1, 1)).await.is_ok() == is_taken, "signed at {now_s}");
    }
    locked(&receiver.state).is_forger = true;
    let manager = Webhook::new(settings(&receiver), || NOW_S)?;
    ensure!(matches!(manager.observe().await, Err(ProvisionError::Malformed { .. })));
    Ok(())
}

#[tokio::test]
async fn what_passes_is_tried_again_and_nothing_else() -> Result<()> {
    let receiver = Receiver::start(NOW_S).await?;
    let manager = Webhook::new(settings(&receiver), || NOW_S)?;
    let tries = settings(&receiver).retries.most_tries;
    let cases = [
        (StatusCode::SERVICE_UNAVAILABLE, tries - 1, tries, true),
        (StatusCode::TOO_MANY_REQUESTS, tries - 1, tries, true),
        (StatusCode::INTERNAL_SERVER_ERROR, tries, tries, false),
        (StatusCode::BAD_REQUEST, 1, 1, false),
        (StatusCode::NOT_FOUND, 1, 1, false),
        (StatusCode::TEMPORARY_REDIRECT, 1, 1, false),
    ];
    for (status, times, expected_tries, goes_well) in cases {
        {
            let mut state = locked(&receiver.state);
            state.status = Some((status, times));
            state.received = 0;
        }
        let outcome = manager.observe().await;
        let received = locked(&receiver.state).received;
        ensure!(outcome.is_ok() == goes_well && received == expected_tries, "{status}: {received}, {outcome:?}");
        if status.is_server_error() && !goes_well {
            let Err(ProvisionError::Unreachable { detail, .. }) = outcome else { anyhow::bail!("{outcome:?}") };
            ensure!(detail.contains(&format!("tried {tries} times")), "{detail}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_unreachable() -> Result<()> {
    let receiver = Receiver::start(NOW_S).await?;
    let manager = Webhook::new(settings(&receiver), || NOW_S)?;
    drop(receiver);
    // Its port is nobody's once its task has ended.
    tokio::task::yield_now().await;
    let outcome = manager.apply(&order(1, 1)).await;
    ensure!(matches!(outcome, Err(ProvisionError::Unreachable { .. })), "{outcome:?}");
    Ok(())
}

#[tokio::test]
async fn a_restored_receiver_is_believed_again() -> Result<()> {
    let mut driver = Driver::<Remotely>::set_up().await?;
    driver.order(&[(steady(), 2), (other(), 1)]).await?;
    driver.settle().await?;
    // As from a backup: it knows everything, under revisions that are long past.
    driver.subject.state().revision = 0;
    for _ in 0..REWINDS_MAX {
        let refused = driver.observe().await.err().context("an older view")?;
        ensure!(refused.to_string().contains("overtaken"), "{refused}");
    }
    let observed = driver.observe().await?;
    ensure!(ready(&observed, &steady()).len() == 2, "{observed:?}");
    driver.settle().await?;
    Ok(())
}

#[tokio::test]
async fn an_old_view_is_not_believed() -> Result<()> {
    let mut driver = Driver::<Remotely>::set_up().await?;
    driver.order(&[(steady(), 1)]).await?;
    driver.settle().await?;
    driver.subject.keep_view();
    driver.settle().await?;
    driver.subject.show_old_view();
    ensure!(driver.observe().await.is_err());
    ensure!(driver.observe().await.is_ok());
    Ok(())
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let with = |url: &str, retries: Retries| {
        let tls = TlsSettings::default();
        let settings = WebhookSettings { url: url.to_owned(), tls, secret: secret(), retries, seed: 0 };
        Webhook::new(settings, || NOW_S).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let usual = Retries::default();
    assert_eq!(with("http://127.0.0.1:8080/path", usual), "");
    assert_eq!(with("http://[::1]:8080", usual), "");
    for (url, expected) in [
        ("ftp://127.0.0.1:8080", "neither http:// nor https://"),
        ("https://user@capacity.example", "it names a user"),
        ("http://192.0.2.1:80", "not this machine"),
        ("http://localhost", "not an address with a port"),
        ("http://127.0.0.1:80/?q=1", "it has a query"),
        ("no url at all", "it is no URL"),
    ] {
        let refused = with(url, usual);
        assert!(refused.contains(expected) && refused.contains("give https://HOST"), "{url}: {refused}");
    }
    let slow = Retries { try_within: Duration::from_secs(8), ..usual };
    assert!(with("http://127.0.0.1:80", slow).contains("less than 30s"));
    assert!(with("http://127.0.0.1:80", Retries { most_tries: 0, ..usual }).contains("at least one"));
}
