//! Metrics; the rules are in `metric.rs` of the crate.

use super::{Imports, host_calls};
use crate::guest::{Guest, Reply, status};
use crate::metric::{MetricIds, Metrics};

pub(super) fn link(imports: &mut Imports) -> wasmtime::Result<()> {
    host_calls!(imports, "env", status, {
        proxy_define_metric(kind: u32, name: u32, name_len: u32, id_out: u32) => define;
        proxy_increment_metric(id: u32, offset: i64) => |guest: &mut Guest<'_>, id, offset| {
            let (ids, metrics) = ids_and_values(guest);
            Ok(ids.increment(metrics, id, offset)?)
        };
        proxy_record_metric(id: u32, amount: u64) => |guest: &mut Guest<'_>, id, amount| {
            let (ids, metrics) = ids_and_values(guest);
            Ok(ids.record(metrics, id, amount)?)
        };
        proxy_get_metric(id: u32, value_out: u32) => get;
    });
    Ok(())
}

fn ids_and_values<'g>(guest: &'g mut Guest<'_>) -> (&'g mut MetricIds, &'g mut Metrics) {
    let state = guest.state();
    let world = state.world.as_mut().expect("the process lends its world for every callback");
    (&mut state.metric_ids, &mut world.metrics)
}

fn define(guest: &mut Guest<'_>, kind: u32, name: u32, name_len: u32, id_out: u32) -> Reply {
    let name = guest.text(name, name_len)?;
    let (ids, metrics) = ids_and_values(guest);
    let id = ids.define(metrics, kind, name)?;
    guest.write_u32(id_out, id)
}

fn get(guest: &mut Guest<'_>, id: u32, value_out: u32) -> Reply {
    let (ids, metrics) = ids_and_values(guest);
    let value = ids.get(metrics, id)?;
    guest.write_u64(value_out, value)
}
