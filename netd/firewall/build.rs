//! Compiles `bpf/*.c` with Debian's `bpf-gcc` and writes what the crate needs of the objects: instructions, the places
//! where a table's descriptor goes, and the layouts. Nothing on a device reads ELF.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use elf::ElfBytes;
use elf::endian::LittleEndian;

const SOURCES: [&str; 3] = ["calls", "packets", "layout"];
const HEADERS: [&str; 3] = ["kernel", "tables", "decide"];
/// `R_BPF_INSN_64`, as binutils numbers it and as LLVM does: the value of a two-instruction load.
const RELOCATE_LOAD: [u32; 2] = [1, 5];

/// The kernel's verifier takes a pointer for checked only when it was compared with a zero that stands in the instruction;
/// what merges common expressions across branches keeps that zero in a register.
const OPTIMIZE: [&str; 5] =
    ["-O2", "-fno-gcse", "-fno-tree-pre", "-fno-cse-follow-jumps", "-fno-rerun-cse-after-loop"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Object<'a> = ElfBytes<'a, LittleEndian>;

fn main() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    for name in SOURCES {
        println!("cargo::rerun-if-changed=bpf/{name}.c");
    }
    for name in HEADERS {
        println!("cargo::rerun-if-changed=bpf/{name}.h");
    }
    let mut programs = String::from("&[\n");
    let mut layout = String::new();
    for name in SOURCES {
        let bytes = fs::read(compiled(&out, name)?)?;
        let object = Object::minimal_parse(&bytes)?;
        write_programs(&object, &mut programs)?;
        write_layout(&object, &mut layout)?;
    }
    programs.push(']');
    fs::write(out.join("programs.rs"), programs)?;
    fs::write(out.join("layout.rs"), layout)?;
    Ok(())
}

fn compiled(out: &Path, name: &str) -> Result<PathBuf> {
    let object = out.join(name).with_extension("o");
    let options = ["-mlittle-endian", "-ffreestanding", "-Wall", "-Wextra", "-Werror", "-c", "-o"];
    let status = Command::new("bpf-gcc")
        .args(OPTIMIZE)
        .args(options)
        .arg(&object)
        .arg(format!("bpf/{name}.c"))
        .status();
    match status {
        Ok(status) if status.success() => Ok(object),
        Ok(status) => Err(format!("bpf-gcc did not compile bpf/{name}.c: {status}").into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err("there is no bpf-gcc: install Debian's package gcc-bpf (make packages)".into())
        }
        Err(e) => Err(format!("bpf-gcc does not start: {e}").into()),
    }
}

/// One `Program` for each section `hook/NAME`.
fn write_programs(object: &Object<'_>, to: &mut String) -> Result<()> {
    let (Some(sections), Some(names)) = object.section_headers_with_strtab()? else {
        return Err("an object without sections".into());
    };
    for (index, section) in sections.iter().enumerate() {
        let Some(hook) = names.get(section.sh_name as usize)?.strip_prefix("hook/") else { continue };
        let (code, _) = object.section_data(&section)?;
        let name = hook.get(..1).unwrap_or_default().to_uppercase() + hook.get(1..).unwrap_or_default();
        write!(to, "Program {{ hook: Hook::{name}, code: &[")?;
        for instruction in code.chunks_exact(8) {
            write!(to, "0x{:016x}, ", u64::from_le_bytes(instruction.try_into()?))?;
        }
        writeln!(to, "], tables: &{} }},", tables(object, index)?)?;
    }
    Ok(())
}

/// The relocations of section `index`: which instruction loads the descriptor of which table.
fn tables(object: &Object<'_>, index: usize) -> Result<String> {
    let sections = object.section_headers().ok_or("an object without sections")?;
    let (symbols, names) = object.symbol_table()?.ok_or("an object without symbols")?;
    let mut text = String::from("[");
    for section in sections.iter().filter(|s| s.sh_info as usize == index) {
        let pairs: Vec<(u64, u32, u32)> = match section.sh_type {
            elf::abi::SHT_REL => {
                object.section_data_as_rels(&section)?.map(|r| (r.r_offset, r.r_type, r.r_sym)).collect()
            }
            elf::abi::SHT_RELA => {
                object.section_data_as_relas(&section)?.map(|r| (r.r_offset, r.r_type, r.r_sym)).collect()
            }
            _ => continue,
        };
        for (offset, kind, symbol) in pairs {
            let name = names.get(symbols.get(symbol as usize)?.st_name as usize)?;
            if !RELOCATE_LOAD.contains(&kind) {
                return Err(
                    format!("{name} is used in a way that is not a table's (relocation {kind})").into()
                );
            }
            let table = name.get(..1).unwrap_or_default().to_uppercase() + name.get(1..).unwrap_or_default();
            write!(text, "({}, Table::{table}), ", offset / 8)?;
        }
    }
    Ok(text + "]")
}

fn write_layout(object: &Object<'_>, to: &mut String) -> Result<()> {
    let Some(section) = object.section_header_by_name("sizes")? else { return Ok(()) };
    let numbers = object.section_data(&section)?.0.chunks_exact(4);
    let numbers: std::result::Result<Vec<u32>, _> =
        numbers.map(|n| n.try_into().map(u32::from_le_bytes)).collect();
    write!(to, "&{:?}", numbers?)?;
    Ok(())
}
