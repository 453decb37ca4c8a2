//! Workers on an in-memory host: one proxy, any number of workers, time by hand.

mod counts;
mod guard;
mod own_buckets;
mod own_buckets_streams;
mod policy;
mod pools;
mod pools_streams;
mod provisioning;
mod settling;
mod strangers;
mod support;
mod telling;
mod waiting;
mod worker;
