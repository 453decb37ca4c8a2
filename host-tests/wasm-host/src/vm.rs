//! One VM: an instance of the module with its store, its exports and its contexts.
//!
//! Envoy gives every worker thread one. The store's data is everything the host knows about this VM; a trap
//! marks it failed, after which nothing enters it again.

use std::collections::BTreeMap;
use std::fmt;

use wasmtime::{Instance, Memory, Store, StoreLimits, StoreLimitsBuilder, TypedFunc, WasmParams, WasmResults};

use crate::code::Code;
use crate::metric::MetricIds;
use crate::stream::{LocalReply, Stream};
use crate::world::World;
use crate::{Answer, HostError};

/// Most linear memory of a VM, as in cpp-host's `limits.h`.
const MAX_MEMORY_BYTES: usize = 1 << 30;

/// Names a VM; never used again after the VM is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(pub(crate) u32);

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VM {}", self.0)
    }
}

/// A root context: one plugin configuration inside one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootId {
    /// The VM.
    pub vm: VmId,
    /// The context id inside it.
    pub context: u32,
}

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "root {} of {}", self.context, self.vm)
    }
}

/// A root context's configuration and timer.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) configuration: Vec<u8>,
    pub(crate) tick_period_ms: u32,
    /// (steady time in ns, arming number), none while the timer is off.
    pub(crate) due: Option<(u64, u64)>,
    /// `proxy_on_done` answered "not yet"; the root lives until `proxy_done`.
    pub(crate) draining: bool,
}

/// What a host call asked for and Envoy does only after the callback has returned.
#[derive(Debug)]
pub(crate) enum AfterCall {
    Continue(u32),
    LocalReply(u32, LocalReply),
    Close(u32),
    RootDone(u32),
}

/// Host state of a VM: what host calls work on.
pub(crate) struct VmState {
    pub(crate) vm: VmId,
    pub(crate) vm_id: String,
    pub(crate) configuration: Vec<u8>,
    /// Only there while a callback runs.
    pub(crate) world: Option<Box<World>>,
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    pub(crate) roots: BTreeMap<u32, Root>,
    pub(crate) streams: BTreeMap<u32, Stream>,
    next_context: u32,
    pub(crate) next_token: u32,
    pub(crate) effective_context: u32,
    /// The root in `proxy_on_vm_start` or `proxy_on_configure`: its configuration can be read, calls cannot be made.
    pub(crate) starting: Option<u32>,
    pub(crate) call_response: Option<Answer>,
    pub(crate) metric_ids: MetricIds,
    pub(crate) after_call: Vec<AfterCall>,
    /// Set by a local reply to whatever stream: this callback's stream is stopped whatever it returns.
    pub(crate) stop_iteration: bool,
    limits: StoreLimits,
}

impl VmState {
    /// Root contexts and streams draw from one sequence, as in Envoy.
    pub(crate) fn allocate_context(&mut self) -> u32 {
        self.next_context += 1;
        self.next_context
    }

    /// The root behind the effective context.
    pub(crate) fn effective_root(&self) -> u32 {
        self.streams.get(&self.effective_context).map_or(self.effective_context, |stream| stream.root)
    }

    pub(crate) fn effective_stream(&mut self) -> Option<&mut Stream> {
        self.streams.get_mut(&self.effective_context)
    }
}

/// Context, token, header count, body length, trailer count.
type CallResponse = (u32, u32, u32, u32, u32);

/// The module's callbacks; what it does not export is not called.
pub(crate) struct Exports {
    pub(crate) on_context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) on_vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) on_configure: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) on_tick: Option<TypedFunc<u32, ()>>,
    pub(crate) on_queue_ready: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) on_request_headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) on_response_headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) on_response_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) on_http_call_response: Option<TypedFunc<CallResponse, ()>>,
    pub(crate) on_done: Option<TypedFunc<u32, u32>>,
    pub(crate) on_log: Option<TypedFunc<u32, ()>>,
    pub(crate) on_delete: Option<TypedFunc<u32, ()>>,
}

pub(crate) struct Vm {
    pub(crate) store: Store<VmState>,
    pub(crate) exports: Exports,
    pub(crate) failed: Option<String>,
    callback_fuel: Option<u64>,
}

impl Vm {
    /// Instantiates and runs `_initialize`; no context exists yet.
    pub(crate) fn new(
        vm: VmId,
        code: &Code,
        configuration: &[u8],
        world: &mut Option<Box<World>>,
    ) -> Result<Self, HostError> {
        let state = VmState {
            vm,
            vm_id: code.options().vm_id.clone(),
            configuration: configuration.to_vec(),
            world: world.take(),
            memory: None,
            allocate: None,
            roots: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_context: 0,
            next_token: 0,
            effective_context: 0,
            starting: None,
            call_response: None,
            metric_ids: MetricIds::default(),
            after_call: Vec::new(),
            stop_iteration: false,
            limits: StoreLimitsBuilder::new().memory_size(MAX_MEMORY_BYTES).build(),
        };
        let mut store = Store::new(code.engine(), state);
        store.limiter(|state| &mut state.limits);
        let callback_fuel = code.options().fuel.then_some(code.options().callback_fuel);
        let made = instantiate(vm, code, &mut store, callback_fuel);
        *world = store.data_mut().world.take();
        Ok(Self { exports: made?, store, failed: None, callback_fuel })
    }

    /// Calls an export, if there is one, as `context`. Returns its result or the trap, and the fuel it took.
    pub(crate) fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        world: &mut Option<Box<World>>,
        context: u32,
        function: fn(&Exports) -> &Option<TypedFunc<P, R>>,
        params: P,
    ) -> (Result<Option<R>, String>, u64) {
        let Some(function) = function(&self.exports) else {
            return (Ok(None), 0);
        };
        let state = self.store.data_mut();
        state.effective_context = context;
        state.stop_iteration = false;
        state.world = world.take();
        let result = refuel(&mut self.store, self.callback_fuel).and_then(|()| function.call(&mut self.store, params));
        *world = self.store.data_mut().world.take();
        let used = match self.callback_fuel {
            Some(limit) => limit - self.store.get_fuel().unwrap_or(0),
            None => 0,
        };
        let result = result.map(Some).map_err(|trap| {
            let message = format!("{trap:?}");
            self.failed = Some(message.clone());
            message
        });
        (result, used)
    }

    pub(crate) fn state(&self) -> &VmState {
        self.store.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut VmState {
        self.store.data_mut()
    }
}

fn refuel(store: &mut Store<VmState>, callback_fuel: Option<u64>) -> wasmtime::Result<()> {
    callback_fuel.map_or(Ok(()), |fuel| store.set_fuel(fuel))
}

fn instantiate(vm: VmId, code: &Code, store: &mut Store<VmState>, fuel: Option<u64>) -> Result<Exports, HostError> {
    let failed = |source| HostError::Instantiate { vm, source };
    let missing = |what| HostError::MissingExport { vm, what };
    refuel(store, fuel).map_err(failed)?;
    let instance = code.linked().instantiate(&mut *store).map_err(failed)?;
    let is_abi_0_2 = |name| instance.get_func(&mut *store, name).is_some();
    if !["proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0"].into_iter().any(is_abi_0_2) {
        return Err(missing("proxy_abi_version_0_2_1"));
    }
    let memory = instance.get_memory(&mut *store, "memory").ok_or_else(|| missing("memory"))?;
    let allocate = match export(&instance, store, "proxy_on_memory_allocate").map_err(failed)? {
        Some(allocate) => Some(allocate),
        None => export(&instance, store, "malloc").map_err(failed)?,
    };
    let state = store.data_mut();
    state.memory = Some(memory);
    state.allocate = Some(allocate.ok_or_else(|| missing("proxy_on_memory_allocate or malloc"))?);
    let start: Option<TypedFunc<(), ()>> = match export(&instance, store, "_initialize").map_err(failed)? {
        Some(initialize) => Some(initialize),
        None => export(&instance, store, "_start").map_err(failed)?,
    };
    if let Some(start) = start {
        start.call(&mut *store, ()).map_err(failed)?;
    }
    let mut exports = || -> wasmtime::Result<Exports> {
        Ok(Exports {
            on_context_create: export(&instance, store, "proxy_on_context_create")?,
            on_vm_start: export(&instance, store, "proxy_on_vm_start")?,
            on_configure: export(&instance, store, "proxy_on_configure")?,
            on_tick: export(&instance, store, "proxy_on_tick")?,
            on_queue_ready: export(&instance, store, "proxy_on_queue_ready")?,
            on_request_headers: export(&instance, store, "proxy_on_request_headers")?,
            on_response_headers: export(&instance, store, "proxy_on_response_headers")?,
            on_response_body: export(&instance, store, "proxy_on_response_body")?,
            on_http_call_response: export(&instance, store, "proxy_on_http_call_response")?,
            on_done: export(&instance, store, "proxy_on_done")?,
            on_log: export(&instance, store, "proxy_on_log")?,
            on_delete: export(&instance, store, "proxy_on_delete")?,
        })
    };
    exports().map_err(failed)
}

/// The export of that name: none if absent, an error if its signature is another.
fn export<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<VmState>,
    name: &str,
) -> wasmtime::Result<Option<TypedFunc<P, R>>> {
    match instance.get_func(&mut *store, name) {
        Some(function) => function.typed(&*store).map(Some).map_err(|e| e.context(format!("export `{name}`"))),
        None => Ok(None),
    }
}
