//! Classic BPF as the kernel runs it over `struct seccomp_data`.

use crate::privileges::seccomp::bpf::{AND, Instruction, JEQ, JGE, JGT, JUMP, LOAD, RETURN};

/// What `program` answers to one call. Panics where the kernel would have refused the program.
pub fn judge(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend(0_u64.to_le_bytes());
    data.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
    let mut accumulator = 0_u32;
    let mut place = 0;
    loop {
        let Instruction { code, jt, jf, k } = program[place];
        place += 1;
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            LOAD => {
                let offset = k as usize;
                assert_eq!(offset % 4, 0, "unaligned load");
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            AND => accumulator &= k,
            JUMP => place += k as usize,
            JEQ => place += branch(accumulator == k),
            JGT => place += branch(accumulator > k),
            JGE => place += branch(accumulator >= k),
            RETURN => return k,
            other => panic!("unknown operation {other:#x}"),
        }
    }
}
