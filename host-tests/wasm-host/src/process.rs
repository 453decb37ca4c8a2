//! One Envoy process: VMs that come and go over a world that stays.
//!
//! The methods are in four files: here VMs and roots; in `process/streams.rs` requests; in `process/events.rs`
//! time and the answers to calls; in `process/surroundings.rs` what a test can look at and set. Everything a method causes has happened when it
//! returns. Costs ([`Process::last_hostcalls`], [`Process::last_fuel`]) are those of the last method that
//! drove a VM.

mod events;
mod streams;
mod surroundings;

use std::collections::BTreeMap;

use wasmtime::{TypedFunc, WasmParams, WasmResults};

use crate::code::{Code, Options};
use crate::stream::Settled;
use crate::vm::{AfterCall, Exports, Root, RootId, Vm, VmId};
use crate::world::World;
use crate::{HostError, LogLine, SharedData};

/// A simulated Envoy process; see the module text.
pub struct Process {
    code: Code,
    /// Lent to a VM while a callback runs, here otherwise.
    world: Option<Box<World>>,
    vms: BTreeMap<VmId, Vm>,
    vms_made: u32,
    settled: Vec<Settled>,
    fuel_used: u64,
}

impl Process {
    /// Compiles `wasm` and makes a process without VMs.
    pub fn new(wasm: &[u8], options: Options) -> Result<Self, HostError> {
        Ok(Self::of(&Code::compile(wasm, options)?))
    }

    /// A process without VMs that runs code compiled before.
    pub fn of(code: &Code) -> Self {
        let options = code.options();
        let mut world = World::new(options.clock, options.random_seed, code.import_names().len());
        world.properties.insert(b"plugin_vm_id".to_vec(), options.vm_id.clone().into_bytes());
        Self {
            code: code.clone(),
            world: Some(Box::new(world)),
            vms: BTreeMap::new(),
            vms_made: 0,
            settled: Vec::new(),
            fuel_used: 0,
        }
    }

    /// Makes VMs added from now on run `code` (from [`Code::compile_sibling`]): a code upgrade during which old
    /// and new meet in the same shared data.
    pub fn upgrade(&mut self, code: &Code) {
        self.code = code.clone();
    }

    /// Adds a VM with one root: `_initialize`, context create, `proxy_on_vm_start`, `proxy_on_configure`. If
    /// one of them fails the VM is gone again, but what it did to shared data stays, like Envoy's canary.
    pub fn add_vm(&mut self, plugin_configuration: &[u8], vm_configuration: &[u8]) -> Result<VmId, HostError> {
        self.begin();
        self.vms_made += 1;
        let vm = VmId(self.vms_made);
        let made = Vm::new(vm, &self.code, vm_configuration, &mut self.world)?;
        self.vms.insert(vm, made);
        match self.start_root(vm, plugin_configuration) {
            Ok(_) => Ok(vm),
            Err(error) => {
                self.kill_vm(vm)?;
                Err(error)
            }
        }
    }

    /// Adds a root with another plugin configuration to a running VM, as Envoy does when only that changes: the
    /// old root goes on beside it. If it fails the VM stays, without the new root.
    pub fn add_root(&mut self, vm: VmId, plugin_configuration: &[u8]) -> Result<RootId, HostError> {
        self.begin();
        let added = self.start_root(vm, plugin_configuration);
        self.settle(vm);
        added
    }

    fn start_root(&mut self, vm: VmId, plugin_configuration: &[u8]) -> Result<RootId, HostError> {
        let state = self.live_vm(vm)?.state_mut();
        let context = state.allocate_context();
        let (vm_len, plugin_len) = (state.configuration.len() as u32, plugin_configuration.len() as u32);
        let configuration = plugin_configuration.to_vec();
        state.roots.insert(context, Root { configuration, tick_period_ms: 0, due: None, draining: false });
        state.starting = Some(context);
        let started = self
            .drive(vm, context, "proxy_on_context_create", |e| &e.on_context_create, (context, 0))
            .and_then(|_| self.drive(vm, context, "proxy_on_vm_start", |e| &e.on_vm_start, (context, vm_len)))
            .and_then(|accepted| self.accept(vm, "proxy_on_vm_start", accepted))
            .and_then(|()| self.drive(vm, context, "proxy_on_configure", |e| &e.on_configure, (context, plugin_len)))
            .and_then(|accepted| self.accept(vm, "proxy_on_configure", accepted));
        let state = self.vm_mut(vm)?.state_mut();
        state.starting = None;
        if started.is_err() {
            state.roots.remove(&context);
        }
        started.map(|()| RootId { vm, context })
    }

    /// A callback that is not exported accepts.
    fn accept(&self, vm: VmId, callback: &'static str, answer: Option<u32>) -> Result<(), HostError> {
        if answer == Some(0) { Err(HostError::Refused { vm, callback, logs: self.logs_of(vm) }) } else { Ok(()) }
    }

    /// Ends a root: `proxy_on_done`, and unless that answers "not yet" `proxy_on_delete`. A root that is not done
    /// goes on (ticks too) until it calls `proxy_done`.
    pub fn remove_root(&mut self, root: RootId) -> Result<(), HostError> {
        self.begin();
        let found = self.live_vm(root.vm)?.state().roots.contains_key(&root.context);
        if !found {
            return Err(HostError::NoSuchRoot { root });
        }
        let done = self.enter(root.vm, root.context, "proxy_on_done", |e| &e.on_done, root.context)?;
        if done != Some(0) {
            return self.delete_root(root);
        }
        if let Some(root) = self.vm_mut(root.vm)?.state_mut().roots.get_mut(&root.context) {
            root.draining = true;
        }
        Ok(())
    }

    fn delete_root(&mut self, root: RootId) -> Result<(), HostError> {
        let deleted = self.enter(root.vm, root.context, "proxy_on_delete", |e| &e.on_delete, root.context);
        self.vm_mut(root.vm)?.state_mut().roots.remove(&root.context);
        self.world_mut().cancel_calls(root.vm, Some(root.context));
        deleted.map(|_| ())
    }

    /// A VM disappears without any callback; shared data stays, its streams and open calls are gone.
    pub fn kill_vm(&mut self, vm: VmId) -> Result<(), HostError> {
        self.vms.remove(&vm).ok_or(HostError::NoSuchVm { vm })?;
        self.world_mut().cancel_calls(vm, None);
        Ok(())
    }

    /// Hot restart: all VMs, shared data, queues and open calls are gone; clocks go on, and metrics stay (Envoy's
    /// parent process hands its counters over). Hook, clusters and properties stay too.
    pub fn restart(&mut self) {
        for vm in self.vms() {
            self.vms.remove(&vm);
            self.world_mut().cancel_calls(vm, None);
        }
        self.settled.clear();
        let world = self.world_mut();
        world.shared_data = SharedData::default();
        world.queues = Default::default();
    }

    fn world(&self) -> &World {
        self.world.as_ref().expect("the world is back when no callback runs")
    }

    fn world_mut(&mut self) -> &mut World {
        self.world.as_mut().expect("the world is back when no callback runs")
    }

    fn vm_mut(&mut self, vm: VmId) -> Result<&mut Vm, HostError> {
        self.vms.get_mut(&vm).ok_or(HostError::NoSuchVm { vm })
    }

    fn live_vm(&mut self, vm: VmId) -> Result<&mut Vm, HostError> {
        let found = self.vm_mut(vm)?;
        if found.failed.is_some() { Err(HostError::VmFailed { vm }) } else { Ok(found) }
    }

    fn logs_of(&self, vm: VmId) -> Vec<LogLine> {
        self.logs().iter().filter(|line| line.vm == vm).cloned().collect()
    }

    /// Starts counting costs anew.
    fn begin(&mut self) {
        self.world_mut().hostcalls.fill(0);
        self.fuel_used = 0;
    }

    /// Runs one callback without what it asked for afterwards; see [`Process::settle`].
    fn drive<P: WasmParams, R: WasmResults>(
        &mut self,
        vm: VmId,
        context: u32,
        callback: &'static str,
        function: fn(&Exports) -> &Option<TypedFunc<P, R>>,
        params: P,
    ) -> Result<Option<R>, HostError> {
        self.live_vm(vm)?;
        let found = self.vms.get_mut(&vm).ok_or(HostError::NoSuchVm { vm })?;
        let (result, used) = found.call(&mut self.world, context, function, params);
        self.fuel_used += used;
        result.map_err(|message| {
            self.world_mut().cancel_calls(vm, None);
            HostError::Trapped { vm, callback, message, logs: self.logs_of(vm) }
        })
    }

    /// Runs one callback and then what it asked for.
    fn enter<P: WasmParams, R: WasmResults>(
        &mut self,
        vm: VmId,
        context: u32,
        callback: &'static str,
        function: fn(&Exports) -> &Option<TypedFunc<P, R>>,
        params: P,
    ) -> Result<Option<R>, HostError> {
        let result = self.drive(vm, context, callback, function, params)?;
        self.settle(vm);
        Ok(result)
    }

    /// Does what callbacks asked for and Envoy does after they have returned.
    fn settle(&mut self, vm: VmId) {
        let Some(found) = self.vms.get_mut(&vm) else {
            return;
        };
        for action in std::mem::take(&mut found.state_mut().after_call) {
            match action {
                AfterCall::RootDone(context) => {
                    // A trap here has marked the VM failed, which is where a test sees it.
                    let _ = self.delete_root(RootId { vm, context });
                }
                other => self.decide(vm, other),
            }
        }
    }
}
