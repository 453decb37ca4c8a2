//! The functions that a module may import: proxy-wasm 0.2.1 under `env`, and the part of WASI that Envoy offers.
//!
//! Each family has its file; here is the table that links them. Every call is counted under its import name
//! before anything else happens.

mod callout;
mod environment;
mod header_map;
mod metric;
mod shared;
mod stream;
mod wasi;

use wasmtime::{Engine, Linker};

use crate::vm::VmState;

/// Links `import_name(arguments) => function` lines: each function takes the [`crate::guest::Guest`] and the
/// arguments, and its reply goes through `$answer` into the ABI's number.
macro_rules! host_calls {
    ($imports:expr, $module:literal, $answer:path, { $($name:ident($($argument:ident: $type:ty),*) => $function:expr;)* }) => {
        $({
            let place = $imports.place($module, stringify!($name));
            $imports.linker.func_wrap(
                $module,
                stringify!($name),
                move |caller: wasmtime::Caller<'_, crate::vm::VmState>, $($argument: $type),*| {
                    $answer($function(&mut crate::guest::Guest::enter(caller, place), $($argument),*))
                },
            )?;
        })*
    };
}
use host_calls;

/// All imports of the host.
pub(crate) struct Imports {
    pub(crate) linker: Linker<VmState>,
    table: Vec<(&'static str, &'static str)>,
}

impl Imports {
    pub(crate) fn all(engine: &Engine) -> wasmtime::Result<Self> {
        let mut imports = Self { linker: Linker::new(engine), table: Vec::new() };
        environment::link(&mut imports)?;
        header_map::link(&mut imports)?;
        stream::link(&mut imports)?;
        shared::link(&mut imports)?;
        callout::link(&mut imports)?;
        metric::link(&mut imports)?;
        wasi::link(&mut imports)?;
        Ok(imports)
    }

    pub(crate) fn has(&self, module: &str, name: &str) -> bool {
        self.table.contains(&(module, name))
    }

    /// Function names by place in the table of counts.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.table.iter().map(|(_, name)| *name).collect()
    }

    fn place(&mut self, module: &'static str, name: &'static str) -> usize {
        self.table.push((module, name));
        self.table.len() - 1
    }
}
