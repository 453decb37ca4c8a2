//! What the filter and the controller's importer read from outside, as functions that panic when a promise is broken.
//!
//! One function is one fuzz target, and takes whatever bytes. Three ways to run them:
//! - `cargo test -p forebay-fuzz` on any compiler: the committed corpus and bounded, deterministic mutations of it.
//! - `filter/fuzz/run.sh TARGET SECONDS` on stable: libFuzzer with the compiler's own coverage, no address sanitizer
//!   (the filter crates forbid unsafe code).
//! - `cargo fuzz run --fuzz-dir filter/fuzz --features libfuzzer TARGET` with nightly and cargo-fuzz.
//!
//! A new target is a function here, a file in `fuzz_targets/`, a `[[bin]]`, a folder in `corpus/` and a row in
//! `tests/replay.rs`. What a fuzzer finds goes into the corpus under a name that says what it is.

use forebay_admission::{KeyState, Nanos, SlotSet};
use forebay_engine::memory::Memory;
use forebay_engine::policy::{CompiledPolicy, Identity, Work, facts::Store};
use forebay_engine::usage::{BodySource, Combine, Field, Format, MAX_METER_BYTES, Meter, Path, Scale};
use forebay_engine::{Config, table};
use forebay_forecast::{
    Absent, CompactSeries, Measure, Observation, Per, Regular, Regularise, Table, Zone, regularise,
};
use forebay_protocol::extension::{DETAILS, EXPECTATIONS, MAX_READY_IN_MS, PROVISIONING, extension, find};
use forebay_protocol::policy::{MAX_NAME_BYTES, Policy};
use forebay_protocol::{Details, Expectations, Message, Provisioning, decode, encode};

/// A message of the sync path: decodes or says why not, and what decodes survives the round trip, its extensions too.
pub fn protocol(bytes: &[u8]) {
    let message = match decode(bytes) {
        Ok(message) => message,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let extensions = match &message {
        Message::Report(report) => report.extensions.as_slice(),
        Message::ReportAck(ack) => ack.extensions.as_slice(),
        Message::Watch(watch) => watch.extensions.as_slice(),
        Message::GrantTable(part) => part.extensions.as_slice(),
    };
    if let Some(details) = find::<Details>(extensions, DETAILS) {
        assert_eq!(find(&[extension(DETAILS, &details)], DETAILS), Some(details));
    }
    if let Some(expectations) = find::<Expectations>(extensions, EXPECTATIONS) {
        assert_eq!(find(&[extension(EXPECTATIONS, &expectations)], EXPECTATIONS), Some(expectations));
    }
    if let Some(provisioning) = find::<Provisioning>(extensions, PROVISIONING) {
        assert_eq!(find(&[extension(PROVISIONING, &provisioning)], PROVISIONING), Some(provisioning));
    }
    assert_eq!(decode(&encode(&message)), Ok(message));
}

/// A part of a grant table as it lies in shared data, eight bytes of arrival and the message: refused, or grants that
/// the admission crate can work with at any instant.
pub fn grants(bytes: &[u8]) {
    let Some((arrived, message)) = bytes.split_first_chunk::<8>() else { return };
    let Ok(Message::GrantTable(part)) = decode(message) else { return };
    let arrived = Nanos(u64::from_le_bytes(*arrived));
    let Some(grants) = table::grants(&part, arrived) else { return };
    assert_eq!(grants.len(), part.grants.len());
    for key in grants {
        for name in [&key.tenant, &key.resource] {
            assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains('\0'));
        }
        assert!(key.more_at <= arrived.plus(u64::from(MAX_READY_IN_MS) * Nanos::MILLI));
        let slots = &key.grant.slots;
        assert!(slots.len() <= table::MAX_SLOTS);
        assert!(slots.windows(2).all(|pair| pair[0].id < pair[1].id && pair[0].end <= pair[1].start));
        let instants = slots.iter().flat_map(|slot| [slot.start, slot.end]);
        for now in instants.chain([Nanos(0), arrived, Nanos(u64::MAX)]) {
            let running = key.grant.terms(now).slot;
            assert!(running.is_none_or(|slot| slot.start <= now && now < slot.end));
            assert_eq!(key.grant.safe_terms().slot, None);
        }
    }
}

/// The plugin configuration: refused with a reason, or within its bounds.
pub fn config(bytes: &[u8]) {
    match Config::parse(bytes) {
        Ok(config) => {
            let rules = config.policy.rules();
            assert!(rules.iter().all(|rule| rule.charges.len() <= forebay_admission::MAX_CHARGES));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Bucket states in shared data: not read, or read back as written.
pub fn states(bytes: &[u8]) {
    if let Some(state) = KeyState::decode(bytes) {
        // The layout before this one is read and written as this one.
        assert_eq!(KeyState::decode(&state.encode()), Some(state));
    }
    if let Some(set) = SlotSet::decode(bytes) {
        assert_eq!(SlotSet::decode(&set.encode()), Some(set));
    }
}

/// A policy document, and after a NUL the path and the tenant of a request, a NUL between them: refused with reasons, or
/// compiled, and then any request finds its rule, tenant and costs within the policy.
pub fn policy(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let (document, path, tenant) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(document) = serde_json::from_slice::<Policy>(document) else { return };
    let compiled = match CompiledPolicy::compile(&document) {
        Ok(compiled) => compiled,
        Err(findings) => {
            assert!(
                !findings.is_empty() && findings.iter().all(|one| !one.reason.is_empty() && !one.remedy.is_empty())
            );
            return;
        }
    };
    assert!(document.check().is_ok(), "what compiles has been checked");
    let headers = [(":path", path), (":method", &b"GET"[..]), (":authority", b"a.example"), ("x-tenant", tenant)];
    let (mut memory, mut store) = (Memory::default(), Store::default());
    let mut host = memory.request(&headers);
    let mut facts = compiled.facts(&mut store, &mut host);
    let _ = compiled.exempt_path(&mut facts);
    let Some(rule) = compiled.rule(&mut facts, &mut Work::default()) else { return };
    for charge in &rule.charges {
        assert!(charge.resource < compiled.resources.len());
        let _ = charge.cost.units(&mut facts);
    }
    if let Identity::Tenant(len) = compiled.identify(rule, &mut facts, <[u8]>::len) {
        assert!(len > 0, "an empty name names nobody");
    }
}

/// A response body that tells what it cost; the first byte chooses how it is read and the second where it is cut. However
/// it is cut, the same numbers are found, and a meter keeps nothing of it.
pub fn usage(bytes: &[u8]) {
    let [mode, cut, body @ ..] = bytes else { return };
    let format = if mode & 1 == 0 { Format::Json } else { Format::Sse };
    let combine = if mode & 2 == 0 { Combine::Last } else { Combine::Sum };
    let field = |path| Field { path: Path::parse(path).unwrap(), scale: Scale::ONE };
    let source = BodySource { fields: vec![field("usage.total_tokens"), field("choices.0.cost")], combine };
    let mut whole = Meter::new(&source, format);
    whole.read(&source, body);
    let mut pieces = Meter::new(&source, format);
    for piece in body.chunks(usize::from(*cut).max(1)) {
        pieces.read(&source, piece);
    }
    assert_eq!(whole.units(&source), pieces.units(&source));
    assert!(size_of::<Meter>() <= MAX_METER_BYTES);
}

/// Longest series that a fuzzed table becomes, in steps; a stray stamp would else make each run take a second.
const MOST_STEPS: i64 = 20_000;

/// A table of measurements, and before it a byte that chooses the zone and the measure: refused with a reason, or laid on
/// steps, where no value leaves the range of what was measured, no amount is lost, and every bit survives being stored.
pub fn table(bytes: &[u8]) {
    let Some((&mode, text)) = bytes.split_first() else { return };
    let table = match Table::read(text, &zone(mode)) {
        Ok(table) => table,
        Err(error) => return assert!(error.to_string().contains("line")),
    };
    let measures = [Measure::Level, Measure::Sum, Measure::Ratio, Measure::Count, Measure::Counter];
    let measure = measures[usize::from(mode >> 1) % measures.len()];
    for column in table.series().chain(table.labels()) {
        let observations = table.observations(column);
        match lay(&observations, measure) {
            Ok(regular) => check_series(&regular, &observations, measure),
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
}

/// Whether some column of a table becomes a series, so that a corpus can be seen to reach that far.
pub fn table_is_series(bytes: &[u8]) -> bool {
    let Some((&mode, text)) = bytes.split_first() else { return false };
    let Ok(table) = Table::read(text, &zone(mode)) else { return false };
    table.series().any(|column| lay(&table.observations(column), Measure::Level).is_ok())
}

/// Central Europe in 2024, or UTC.
fn zone(mode: u8) -> Zone {
    if mode & 1 == 0 {
        Zone::utc()
    } else {
        Zone::new(3600, vec![(1_711_846_800, 7200), (1_729_990_800, 3600)]).unwrap()
    }
}

/// On the step that the stamps tell, if that does not make the series too long for a fuzzer, else on a longer one.
fn lay(observations: &[Observation], measure: Measure) -> Result<Regular, String> {
    let stamps = || observations.iter().map(|observation| observation.at_ns);
    let span_s = (stamps().max().unwrap_or(0) - stamps().min().unwrap_or(0)) / 1_000_000_000;
    let step_s = [1, 60, 3600, 86_400].into_iter().find(|step_s| span_s / i64::from(*step_s) < MOST_STEPS);
    let own = (span_s < MOST_STEPS).then_some(None).into_iter();
    let mut answer = Err("more than 20,000 days".to_owned());
    for step_s in own.chain(step_s.map(Some)) {
        let how = Regularise { step_s, per: Per::Step, absent: Absent::Zero, ..Regularise::new(measure) };
        answer = regularise(observations, &how).map_err(|error| error.to_string());
        if answer.is_ok() {
            break;
        }
    }
    answer
}

fn check_series(regular: &Regular, observations: &[Observation], measure: Measure) {
    let known = || observations.iter().map(|observation| observation.value).filter(|value| !value.is_nan());
    let values = || regular.series.values().iter().copied().filter(|value| !value.is_nan());
    assert!(values().all(|value| value.is_finite() && value >= 0.0));
    // Sums of what is rounded.
    const NEARLY: f64 = 1e-6;
    match measure {
        Measure::Level | Measure::Ratio => {
            let (least, most) = known().fold((f64::MAX, 0.0_f64), |(least, most), v| (least.min(v), most.max(v)));
            assert!(values().all(|value| value >= least * (1.0 - NEARLY) && value <= most * (1.0 + NEARLY)));
        }
        Measure::Sum | Measure::Count => {
            let (came, laid): (f64, f64) = (known().sum(), values().sum());
            assert!((came - laid).abs() <= NEARLY * came, "{came} came, {laid} in the series");
        }
        _ => {}
    }
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let expanded = CompactSeries::of(&regular.series).expand().unwrap();
    assert_eq!(bits(expanded.values()), bits(regular.series.values()));
}
