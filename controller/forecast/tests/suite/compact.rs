//! Series in little memory: the same bits come back, and how little it is on real traces.

use std::env;
use std::fs::File;
use std::path::Path;

use forebay_forecast::{
    BLOCK_BYTES, CompactSeries, MAX_BYTES_PER_VALUE, Measure, Regularise, Series, Table, Zone, regularise,
};
use proptest::prelude::*;

fn bits(series: &Series) -> Vec<u64> {
    series.values().iter().map(|value| value.to_bits()).collect()
}

fn noise(k: usize, below: usize) -> f64 {
    ((k.wrapping_mul(2_654_435_761) >> 7) % below) as f64
}

/// Stores and expands; bytes per value.
#[track_caller]
fn stored(series: &Series) -> f64 {
    let compact = CompactSeries::of(series);
    let expanded = compact.expand().unwrap();
    assert_eq!(bits(&expanded), bits(series));
    assert_eq!((expanded.start_s(), expanded.step_s()), (series.start_s(), series.step_s()));
    let most = size_of::<CompactSeries>() as f64
        + series.len() as f64 * MAX_BYTES_PER_VALUE
        + series.len().div_ceil(1024) as f64 * BLOCK_BYTES as f64;
    assert!(compact.bytes() as f64 <= most, "{} of {most} bytes", compact.bytes());
    compact.bytes() as f64 / series.len().max(1) as f64
}

#[test]
fn counts_rates_and_gaps_take_few_bits() {
    let series = |of: fn(usize) -> f64| Series::new(0, 300, (0..20_000).map(of).collect()).unwrap();
    assert!(stored(&series(|_| 7.0)) < 0.35, "constant");
    assert!(stored(&series(|_| f64::NAN)) < 0.35, "missing");
    let counts = series(|k| noise(k, 1000));
    assert!(stored(&counts) < 1.5, "counts below 1000: {}", stored(&counts));
    let rates = series(|k| noise(k, 1000) / 300.0);
    assert!(stored(&rates) < 1.5, "the same as rates: {}", stored(&rates));
    let totals = series(|k| 1e9 + k as f64 * 8.0 + noise(k, 16));
    assert!(stored(&totals) < 1.0, "a slow rise: {}", stored(&totals));
    let gappy = series(|k| if k % 3 == 0 { f64::NAN } else { (k % 100) as f64 / 100.0 });
    assert!(stored(&gappy) < 1.2, "every third is missing: {}", stored(&gappy));
    let spikes = series(|k| if k % 200 == 0 { 1e15 + 1.0 } else { (k % 16) as f64 });
    assert!(stored(&spikes) < 1.2, "rare spikes: {}", stored(&spikes));
    let empty = Series::new(0, 300, vec![]).unwrap();
    assert!(CompactSeries::of(&empty).is_empty() && CompactSeries::of(&empty).expand() == Ok(empty));
}

proptest! {
    #[test]
    fn the_same_bits_come_back(
        values in prop::collection::vec(prop_oneof![
            4 => (0_u32..100_000).prop_map(|k| f64::from(k) / 100.0),
            2 => (0_u32..5000).prop_map(|k| f64::from(k) / 300.0),
            2 => 0.0..1e6_f64,
            1 => prop::sample::select(vec![0.0, -0.0, f64::NAN, -f64::NAN, f64::from_bits(0x7ff8_0000_0000_0007), 1e30, 5e-324]),
            1 => (0_u64..1 << 54).prop_map(|k| k as f64),
        ], 0..2500),
    ) {
        stored(&Series::new(600, 300, values).unwrap());
    }
}

#[test]
fn real_traces_take_few_bytes() {
    let Some(folder) = env::var_os("FOREBAY_DATA") else {
        eprintln!("NOT RUN: memory of real traces; set FOREBAY_DATA to a folder that holds traces/");
        return;
    };
    let (mut total, mut values) = (0.0, 0.0);
    let mut files: Vec<_> =
        std::fs::read_dir(Path::new(&folder).join("traces")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "csv")) {
        let table = Table::read(File::open(file).unwrap(), &Zone::utc()).unwrap();
        for column in table.series() {
            let observations = table.observations(column);
            let level = regularise(&observations, &Regularise::new(Measure::Level)).unwrap().series;
            let rate = regularise(&observations, &Regularise::new(Measure::Sum)).unwrap().series;
            let bytes = [stored(&level), stored(&rate)];
            println!("{:60} {:20} {:6} {bytes:.2?}", file.file_name().unwrap().display(), column.name, level.len());
            total += (bytes[0] + bytes[1]) * level.len() as f64;
            values += 2.0 * level.len() as f64;
        }
    }
    println!("{:.2} bytes per value", total / values);
    assert!(total / values < 3.0);
}
