//! The shipped module with one number changed: how much memory it may have.
//!
//! A WebAssembly module says how many pages of 64 KiB it starts with and, if it wants to, how many it will have at most
//! (WebAssembly core specification 2.0, binary format, memory section). Ours names no most, so the host's limit of 1 GiB
//! holds. With a lower one the same code runs out of memory early, and ends as any program does that does: it traps.

use anyhow::{Context, Result, ensure};

const HEADER_BYTES: usize = 8;
const MEMORY_SECTION: u8 = 5;

/// The module, with a memory that grows by at most so many pages of 64 KiB.
pub(crate) fn bounded(module: &[u8], more_pages: u32) -> Result<Vec<u8>> {
    let (mut at, mut bounded) = (HEADER_BYTES, module.get(..HEADER_BYTES).context("no module")?.to_vec());
    let mut changed = false;
    while at < module.len() {
        let (id, begins) = (module[at], at);
        at += 1;
        let size = number(module, &mut at)? as usize;
        let section = module.get(at..at + size).context("a section is cut off")?;
        at += size;
        if id != MEMORY_SECTION {
            bounded.extend(&module[begins..at]);
            continue;
        }
        let mut place = 2;
        ensure!(section.starts_with(&[1, 0]), "one memory without an upper limit, not {section:?}");
        let pages = number(section, &mut place)?;
        let mut content = vec![1, 1];
        write(pages, &mut content);
        write(pages + more_pages, &mut content);
        bounded.push(id);
        write(content.len() as u32, &mut bounded);
        bounded.extend(content);
        changed = true;
    }
    ensure!(changed, "the module has no memory of its own");
    Ok(bounded)
}

/// LEB128, as the specification has its numbers.
fn number(bytes: &[u8], at: &mut usize) -> Result<u32> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let byte = *bytes.get(*at).context("a number is cut off")?;
        *at += 1;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    anyhow::bail!("a number of more than 32 bits")
}

fn write(mut value: u32, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[test]
fn only_the_memory_of_a_module_is_bounded() {
    let module =
        wat::parse_str(r#"(module (memory 200) (func (export "f") (result i32) (memory.grow (i32.const 3))))"#);
    let expected =
        wat::parse_str(r#"(module (memory 200 203) (func (export "f") (result i32) (memory.grow (i32.const 3))))"#);
    assert_eq!(bounded(&module.unwrap(), 3).unwrap(), expected.unwrap());
}
