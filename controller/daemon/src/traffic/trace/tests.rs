//! Reading both shapes, laying them on a grid, and every way to be refused.

use super::*;

fn parse(text: &str) -> Result<Trace, TraceError> {
    Trace::parse("t.csv", text.as_bytes(), "single")
}

fn error(text: &str) -> String {
    parse(text).map_or_else(|error| error.to_string(), |trace| panic!("accepted as {trace:?}"))
}

fn values(trace: &Trace, window: Window) -> Vec<f64> {
    trace.regularise(window).unwrap().series[0].1.clone()
}

#[test]
fn both_shapes_are_read() {
    let long = parse("timestamp,tenant,rate_per_s\n0,a,1\n0,b,5\n60,a,2\n60,b,6\n").unwrap();
    assert_eq!(long.step_s, 60);
    assert_eq!(long.tenants["a"], [(0, 1.0), (60, 2.0)]);
    assert_eq!(long.tenants["b"], [(0, 5.0), (60, 6.0)]);
    let single = parse("timestamp,value,label\n0,1,x\n60,2,\n").unwrap();
    assert_eq!(single.tenants["single"], [(0, 1.0), (60, 2.0)]);
}

#[test]
fn what_was_repaired_is_counted() {
    let trace = parse("t,v\n120,9\n0,1\n0,3\n60,\n180,nan\n60,5\n").unwrap();
    assert_eq!(trace.tenants["single"], [(0, 2.0), (60, 5.0), (120, 9.0)]);
    assert_eq!((trace.duplicates, trace.out_of_order, trace.blanks), (1, 1, 2));
}

#[test]
fn errors_name_file_line_and_remedy() {
    assert!(error("0,1\n60,2\n").contains("trace t.csv: reading line 1: \"0,1\" is no header; add one"));
    assert!(error("t,v\n0,1\nyesterday,2\n").contains("t.csv: reading line 3: \"yesterday\" is no time; write unix"));
    assert!(error("t,v\n0,-1\n").contains("line 2, column \"v\": -1 is no demand; write a number"));
    assert!(error("t,v\n0,inf\n").contains("line 2, column \"v\": \"inf\" is no number"));
    assert!(error("t,tenant,v\n0,a\n").contains("line 2: 2 fields where the header has 3"));
    assert!(error("t,tenant\n0,a\n").contains("no column for the values"));
    assert!(error("t,tenant,v\n0,,1\n").contains("line 2: the tenant is empty"));
    assert!(error("t,v\n0,1\n").contains("step is unknown"));
    let missing = Trace::read(Path::new("no-such-trace.csv"), None).unwrap_err().to_string();
    assert!(missing.contains("no-such-trace.csv") && missing.contains("check the path"), "{missing}");
}

#[test]
fn a_coarser_grid_averages_and_a_finer_one_holds() {
    let trace = parse("t,v\n0,1\n60,3\n120,5\n180,7\n").unwrap();
    assert_eq!(values(&trace, Window::default()), [1.0, 3.0, 5.0, 7.0]);
    assert_eq!(values(&trace, Window { step_s: Some(120), ..Window::default() }), [2.0, 6.0]);
    let finer = Window { step_s: Some(30), from_s: Some(60), to_s: Some(150) };
    assert_eq!(values(&trace, finer), [3.0, 3.0, 5.0]);
}

#[test]
fn a_gap_stays_missing() {
    let trace = parse("t,v\n0,1\n60,3\n240,5\n300,7\n").unwrap();
    let steps = values(&trace, Window::default());
    assert_eq!(steps.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [false, false, true, true, false, false]);
    // Two thirds of a coarser step may speak for it, a third may not.
    let coarse = Window { step_s: Some(180), ..Window::default() };
    assert_eq!(values(&trace, coarse), [2.0, 6.0]);
    let thin = values(&parse("t,v\n0,1\n60,2\n300,1\n").unwrap(), coarse);
    assert!(thin[0] == 1.5 && thin[1].is_nan(), "{thin:?}");
}

#[test]
fn an_empty_or_endless_window_is_refused() {
    let trace = parse("t,v\n0,1\n60,3\n").unwrap();
    let refused = trace.regularise(Window { from_s: Some(500), ..Window::default() }).unwrap_err().to_string();
    assert!(refused.contains("from 1970-01-01 00:00:00 to 1970-01-01 00:02:00"), "{refused}");
    let stray = parse("t,v\n0,1\n1,3\n99999999,3\n").unwrap();
    assert!(matches!(stray.regularise(Window::default()), Err(TraceError::TooLong { .. })));
}

#[test]
fn every_real_trace_is_read() {
    let Some(data) = std::env::var_os("FOREBAY_DATA") else {
        eprintln!("NOT RUN: every_real_trace_is_read needs FOREBAY_DATA, a folder that holds traces/*.csv");
        return;
    };
    let mut read = 0;
    for entry in std::fs::read_dir(Path::new(&data).join("traces")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            let trace = Trace::read(&path, None).unwrap();
            let grid = trace.regularise(Window::default()).unwrap();
            let known = grid.series[0].1.iter().filter(|v| v.is_finite()).count();
            println!("{}: step {} s, {} steps, {known} known", path.display(), trace.step_s, grid.steps);
            assert!(known * 10 > grid.steps * 9, "{}: more than a tenth is missing", path.display());
            read += 1;
        }
    }
    assert!(read > 0, "FOREBAY_DATA holds no traces/*.csv");
}
