//! A compiled module, ready for any number of processes and VMs.
//!
//! Compiling is the only slow step of this host; a [`Code`] is cheap to clone, so tests compile once and share.

use wasmtime::{Config, Engine, InstancePre, Module};

use crate::hostcalls::Imports;
use crate::vm::VmState;
use crate::{Clock, HostError};

/// How a process behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Count wasmtime fuel (about one per instruction) and bound each callback by `callback_fuel`.
    pub fuel: bool,
    /// With `fuel`: a callback that takes more traps. Turns an endless loop into a failure, always the same.
    pub callback_fuel: u64,
    /// Envoy's `vm_id`: the namespace of shared data and queues.
    pub vm_id: String,
    /// Both clocks at the start.
    pub clock: Clock,
    /// Seed of `random_get`.
    pub random_seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fuel: false,
            // Some seconds of a real machine: far beyond any callback that a proxy could bear.
            callback_fuel: 5_000_000_000,
            vm_id: "forebay".to_owned(),
            // Neither clock starts at zero, so that "an hour ago" can be computed; the wall says 2026-01-01.
            clock: Clock { steady_ns: 1_000_000_000_000, wall_ns: 1_767_225_600_000_000_000 },
            random_seed: 1,
        }
    }
}

/// A compiled module with its imports resolved.
#[derive(Clone)]
pub struct Code {
    engine: Engine,
    linked: InstancePre<VmState>,
    import_names: Vec<&'static str>,
    options: Options,
}

impl Code {
    /// Compiles a module, from binary or (with wasmtime's `wat` feature) text.
    pub fn compile(wasm: &[u8], options: Options) -> Result<Self, HostError> {
        let mut config = Config::new();
        config.consume_fuel(options.fuel);
        let engine = Engine::new(&config).map_err(|source| HostError::Compile { source })?;
        Self::compile_in(engine, wasm, options)
    }

    /// Compiles another module (a new version, say) for processes that run this one.
    pub fn compile_sibling(&self, wasm: &[u8]) -> Result<Self, HostError> {
        Self::compile_in(self.engine.clone(), wasm, self.options.clone())
    }

    fn compile_in(engine: Engine, wasm: &[u8], options: Options) -> Result<Self, HostError> {
        let module = Module::new(&engine, wasm).map_err(|source| HostError::Compile { source })?;
        let imports = Imports::all(&engine).map_err(|source| HostError::Link { source })?;
        if let Some(unknown) = module.imports().find(|import| !imports.has(import.module(), import.name())) {
            let (module, name) = (unknown.module().to_owned(), unknown.name().to_owned());
            return Err(HostError::UnknownImport { module, name });
        }
        let linked = imports.linker.instantiate_pre(&module).map_err(|source| HostError::Link { source })?;
        Ok(Self { engine, linked, import_names: imports.names(), options })
    }

    /// The options it was compiled with; processes start from them.
    pub fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn linked(&self) -> &InstancePre<VmState> {
        &self.linked
    }

    /// Names of all imports of the host, by place in the table of counts.
    pub(crate) fn import_names(&self) -> &[&'static str] {
        &self.import_names
    }
}
