//! What the firmware starts when nothing else does: a program that resets the board.
//!
//! A boot loader that cannot start what it chose ends, and the firmware goes on with the next of its boot entries. The
//! next one is this. So a device whose newest system does not start comes to the one before, once the attempts are
//! counted down, and one without any goes round until it gets one; nobody is ever asked what to do.
//!
//! Seven instructions need no compiler for the firmware's format.

use super::pe;
use anyhow::Result;

/// `SystemTable->RuntimeServices->ResetSystem(EfiResetCold, EFI_SUCCESS, 0, NULL)`, by UEFI 2.10, 2.3.4.1 (registers),
/// 4.3 and 4.5 (offsets).
const CODE: [u8; 24] = [
    0x48, 0x8b, 0x42, 0x58, // mov rax, [rdx + 0x58]
    0x48, 0x83, 0xec, 0x28, // sub rsp, 0x28
    0x31, 0xc9, // xor ecx, ecx
    0x31, 0xd2, // xor edx, edx
    0x45, 0x31, 0xc0, // xor r8d, r8d
    0x45, 0x31, 0xc9, // xor r9d, r9d
    0xff, 0x50, 0x68, // call [rax + 0x68]
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// The program, unsigned.
///
/// # Errors
/// None, as long as it is so short.
pub fn program() -> Result<Vec<u8>> {
    pe::of_code(&CODE)
}
