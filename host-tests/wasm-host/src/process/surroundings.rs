//! What a test can look at in a process, and what it can set: costs, logs, metrics, shared data and its faults,
//! properties, clusters, calls under way. Nothing here enters a VM.

use std::collections::BTreeMap;

use crate::stream::property_path;
use crate::{Clock, HttpCall, LogLine, Metric, Process, RootId, SharedData, SharedDataCall, Status, VmId};

impl Process {
    /// All VMs, failed ones included, oldest first.
    pub fn vms(&self) -> Vec<VmId> {
        self.vms.keys().copied().collect()
    }

    /// The roots of a VM, oldest first; empty if there is no such VM.
    pub fn roots(&self, vm: VmId) -> Vec<RootId> {
        let contexts = self.vms.get(&vm).into_iter().flat_map(|vm| vm.state().roots.keys());
        contexts.map(|context| RootId { vm, context: *context }).collect()
    }

    /// Why a VM is failed, if it is.
    pub fn failed(&self, vm: VmId) -> Option<&str> {
        self.vms.get(&vm)?.failed.as_deref()
    }

    /// Size of the VM's linear memory; none if there is no such VM.
    pub fn memory_bytes(&self, vm: VmId) -> Option<usize> {
        let vm = self.vms.get(&vm)?;
        Some(vm.state().memory?.data_size(&vm.store))
    }

    /// Host calls by name of the last method that drove a VM; names never called are absent.
    pub fn last_hostcalls(&self) -> BTreeMap<&'static str, u64> {
        let counted = self.code.import_names().iter().zip(&self.world().hostcalls);
        counted.filter(|(_, count)| **count > 0).map(|(name, count)| (*name, *count)).collect()
    }

    /// Fuel of the last method that drove a VM; none when fuel is off.
    pub fn last_fuel(&self) -> Option<u64> {
        self.code.options().fuel.then_some(self.fuel_used)
    }

    /// Every line logged since the start or the last [`Process::take_logs`].
    pub fn logs(&self) -> &[LogLine] {
        &self.world().logs
    }

    /// Takes the log lines out.
    pub fn take_logs(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.world_mut().logs)
    }

    /// All metrics by name.
    pub fn metrics(&self) -> &BTreeMap<String, Metric> {
        &self.world().metrics.values
    }

    /// Value of a counter or gauge; none if there is no such metric or it is a histogram.
    pub fn metric(&self, name: &str) -> Option<u64> {
        match self.metrics().get(name)? {
            Metric::Counter(value) | Metric::Gauge(value) => Some(*value),
            Metric::Histogram(_) => None,
        }
    }

    /// The shared data of all VMs.
    pub fn shared_data(&self) -> &SharedData {
        &self.world().shared_data
    }

    /// The shared data, to be edited as another plugin could.
    pub fn shared_data_mut(&mut self) -> &mut SharedData {
        &mut self.world_mut().shared_data
    }

    /// Installs a hook that sees each shared-data call before it happens: it may write what another worker would
    /// have written in between, or answer in the host's place. It replaces the hook before it.
    pub fn on_shared_data(
        &mut self,
        hook: impl FnMut(SharedDataCall<'_>, &mut SharedData) -> Option<Status> + Send + 'static,
    ) {
        self.world_mut().shared_data_hook = Some(Box::new(hook));
    }

    /// Takes the hook away.
    pub fn clear_shared_data_hook(&mut self) {
        self.world_mut().shared_data_hook = None;
    }

    /// Sets a property that every context can read, such as `["xds", "node", "id"]`.
    pub fn set_property(&mut self, path: &[&str], value: impl AsRef<[u8]>) {
        self.world_mut().properties.insert(property_path(path), value.as_ref().to_vec());
    }

    /// Says whether an Envoy cluster exists; all do until said otherwise.
    pub fn set_cluster_exists(&mut self, cluster: &str, exists: bool) {
        let missing = &mut self.world_mut().missing_clusters;
        if exists {
            missing.remove(cluster);
        } else {
            missing.insert(cluster.to_owned());
        }
    }

    /// Both clocks.
    pub fn clock(&self) -> Clock {
        self.world().clock
    }

    /// Takes the calls made since the last time, in order. They stay open until answered.
    pub fn take_calls(&mut self) -> Vec<HttpCall> {
        std::mem::take(&mut self.world_mut().calls)
    }
}
