//! Leads among real series, when they are there: what is found in the first part and what it is worth in the last.

use std::env;
use std::path::Path;

use forebay_forecast::{Correction, History, LeadLag, LeadLagSettings, ModelKind, Series};

use crate::real_traces::{read, read_all};

/// Share of each trace in which leads are searched.
const SEARCHED: f64 = 0.8;
const HORIZON: usize = 12;
/// Traces of the same eleven days, of several services.
const SERVICES: [&str; 4] = [
    "ms_mongodb_application_rps_01.csv",
    "ms_mongodb_application_rps_02.csv",
    "ms_data_ingress_rate_01.csv",
    "ms_data_ingress_rate_02.csv",
];

/// Squared misses of the follower's forecasts after the split, by lead: without and with the correction.
fn judge(all: &[&Series], split: usize, correction: &Correction) -> Vec<(f64, f64)> {
    let follower = all[correction.follower()];
    let history = History::new(follower);
    let model = ModelKind::LagRidge.fit(&history, split, HORIZON).unwrap();
    let leads = correction.held_out_gains().count();
    let mut losses = vec![(0.0, 0.0); leads];
    for origin in split..history.len() - HORIZON {
        let mut points = [0.0; HORIZON];
        model.forecast(&history, origin, &mut points);
        let moves = correction.at(all, history.at_s(origin)).unwrap();
        for (lead, (without, with)) in losses.iter_mut().enumerate() {
            if history.known(origin + lead) {
                let miss = follower.values()[origin + lead] - points[lead];
                *without += miss * miss;
                *with += (miss - moves[lead]).powi(2);
            }
        }
    }
    losses
}

#[test]
fn leads_among_real_series_do_no_harm_later() {
    let Some(folder) = env::var_os("FOREBAY_DATA") else {
        eprintln!("NOT RUN: leads among real traces; set FOREBAY_DATA to a folder that holds traces/");
        return;
    };
    let file = |name: &str| Path::new(&folder).join("traces").join(name);
    let mut groups: Vec<(&str, Vec<Series>)> =
        ["google2019_instance_usage_5min.csv", "alibaba2018_machine_usage_5min.csv", "azure2019_vm_cpu_mem_5min.csv"]
            .map(|name| (name, read_all(&file(name), 300)))
            .to_vec();
    for (what, step_s) in [("services, 1 min", 60), ("services, 5 min", 300)] {
        groups.push((what, SERVICES.map(|name| read(&file(name), step_s)).to_vec()));
    }
    let mut ratios: Vec<f64> = Vec::new();
    for (name, all) in groups {
        let len = all.iter().map(Series::len).min().unwrap();
        let split = (SEARCHED * len as f64) as usize;
        let early: Vec<Series> = all.iter().map(|series| series.slice(0, split).unwrap()).collect();
        let early: Vec<&Series> = early.iter().collect();
        let found = LeadLag::search(&early, &LeadLagSettings::default()).unwrap();
        println!("{name}: {} series, {} not confirmed", all.len(), found.not_confirmed);
        for lead in &found.leads {
            println!("  {lead:?}");
        }
        let all: Vec<&Series> = all.iter().collect();
        for follower in 0..all.len() {
            let Some(correction) = Correction::fit(&early, follower, &found.leads, HORIZON).unwrap() else { continue };
            let losses = judge(&all, split, &correction);
            let by_lead: Vec<String> = losses.iter().map(|(without, with)| format!("{:.3}", with / without)).collect();
            println!("  {follower} corrected, squared misses with over without, by lead: {}", by_lead.join(" "));
            ratios.extend(losses.iter().map(|(without, with)| with / without));
        }
    }
    let mean = ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64;
    println!("{} corrected leads, geometric mean {:.3}", ratios.len(), mean.exp());
    assert!(mean.exp() < 1.02, "corrections do harm: {ratios:?}");
}
