//! Compiles device rules to an eBPF program for cgroup v2, which has no devices controller. The kernel runs it at each mknod(2) and
//! open(2) of a device (`BPF_PROG_TYPE_CGROUP_DEVICE`, bpf(2)).

use crate::devices::{Access, DeviceKind, Rule};

/// Registers of the eBPF machine.
const RESULT: u64 = 0;
const CONTEXT: u64 = 1;
const TYPE: u64 = 2;
const ACCESS: u64 = 3;
const MAJOR: u64 = 4;
const MINOR: u64 = 5;
const SCRATCH: u64 = 6;

/// Operations, of `linux/bpf.h`.
const LOAD_WORD: u64 = 0x61;
const MOVE_NUMBER: u64 = 0xb7;
const MOVE_REGISTER: u64 = 0xbf;
const AND_NUMBER: u64 = 0x57;
const SHIFT_RIGHT: u64 = 0x77;
const JUMP_IF_EQUAL: u64 = 0x15;
const JUMP_IF_NOT: u64 = 0x55;
const EXIT: u64 = 0x95;

/// Assembles the program: it tests the rules from the last to the first, and the first match decides. Without a match, access is
/// denied.
pub fn assemble(rules: &[Rule]) -> Vec<u64> {
    // struct bpf_cgroup_dev_ctx { u32 access_type (access << 16 | type), major, minor }
    let mut program = vec![
        instruction(LOAD_WORD, TYPE, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, TYPE, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(AND_NUMBER, TYPE, 0, 0, 0xffff),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        program.extend(judge(rule));
        // The verifier refuses instructions that cannot be reached.
        if rule.kind == DeviceKind::All {
            return program;
        }
    }
    program.extend(decide(false));
    program
}

/// Code that decides if the rule matches, and otherwise falls through.
fn judge(rule: &Rule) -> Vec<u64> {
    /// A test: the code before it, the jump taken if the rule does not match, and the jump's register and number.
    struct Test {
        before: Vec<u64>,
        jump: u64,
        register: u64,
        number: u32,
    }
    let mut tests = Vec::new();
    let mut differs = |register, number| {
        tests.push(Test {
            before: Vec::new(),
            jump: JUMP_IF_NOT,
            register,
            number,
        })
    };
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Block => differs(TYPE, 1),
        DeviceKind::Character => differs(TYPE, 2),
    }
    if let Some(major) = rule.major {
        differs(MAJOR, major);
    }
    if let Some(minor) = rule.minor {
        differs(MINOR, minor);
    }
    if rule.access != Access::ALL {
        // An allowing rule matches a request for nothing beyond its access, a denying rule one for any part of it.
        let (mask, jump) = if rule.allow {
            (!bits(rule.access) & 7, JUMP_IF_NOT)
        } else {
            (bits(rule.access), JUMP_IF_EQUAL)
        };
        let before = vec![
            instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0),
            instruction(AND_NUMBER, SCRATCH, 0, 0, mask),
        ];
        tests.push(Test {
            before,
            jump,
            register: SCRATCH,
            number: 0,
        });
    }
    let decision = decide(rule.allow);
    let length: usize = tests
        .iter()
        .map(|test| test.before.len() + 1)
        .sum::<usize>()
        + decision.len();
    let mut code = Vec::with_capacity(length);
    for test in tests {
        code.extend(test.before);
        let behind = (length - code.len() - 1) as u64;
        code.push(instruction(
            test.jump,
            test.register,
            0,
            behind,
            test.number,
        ));
    }
    code.extend(decision);
    code
}

fn decide(allow: bool) -> [u64; 2] {
    [
        instruction(MOVE_NUMBER, RESULT, 0, 0, u32::from(allow)),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// `BPF_DEVCG_ACC_MKNOD`, `_READ` and `_WRITE`.
fn bits(access: Access) -> u32 {
    u32::from(access.mknod) | u32::from(access.read) << 1 | u32::from(access.write) << 2
}

/// `struct bpf_insn`: operation, target and source register, offset, number.
fn instruction(operation: u64, target: u64, source: u64, offset: u64, number: u32) -> u64 {
    operation | target << 8 | source << 12 | offset << 16 | u64::from(number) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices;

    /// Runs the program as the kernel would.
    fn allowed(program: &[u64], kind: u64, major: u64, minor: u64, access: u64) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 11];
        let mut place = 0;
        loop {
            let word = program[place];
            let (target, source) = ((word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, number) = ((word >> 16 & 0xffff) as usize, word >> 32);
            place += 1;
            match word & 0xff {
                LOAD_WORD => registers[target] = context[offset / 4],
                MOVE_NUMBER => registers[target] = number,
                MOVE_REGISTER => registers[target] = registers[source],
                AND_NUMBER => registers[target] &= number,
                SHIFT_RIGHT => registers[target] >>= number,
                JUMP_IF_EQUAL if registers[target] == number => place += offset,
                JUMP_IF_NOT if registers[target] != number => place += offset,
                JUMP_IF_EQUAL | JUMP_IF_NOT => {}
                EXIT => return registers[0] == 1,
                other => panic!("unknown operation {other:#x}"),
            }
        }
    }

    const BLOCK: u64 = 1;
    const CHARACTER: u64 = 2;
    const MKNOD: u64 = 1;
    const READ: u64 = 2;
    const WRITE: u64 = 4;

    #[test]
    fn default_rules_admit_the_default_nodes_alone() {
        let program = assemble(&devices::rules(&[]).expect("the defaults are valid"));
        for node in devices::DEFAULT_NODES {
            let (major, minor) = (u64::from(node.major), u64::from(node.minor));
            assert!(
                allowed(&program, CHARACTER, major, minor, READ | WRITE | MKNOD),
                "{node:?}"
            );
            assert!(
                !allowed(&program, BLOCK, major, minor, READ),
                "{node:?} as a block device"
            );
        }
        assert!(allowed(&program, CHARACTER, 136, 17, READ | WRITE));
        for (kind, major, minor) in [
            (BLOCK, 8, 0),
            (BLOCK, 254, 0),
            (CHARACTER, 1, 1),
            (CHARACTER, 1, 4),
            (CHARACTER, 10, 229),
        ] {
            for access in [MKNOD, READ, WRITE] {
                assert!(
                    !allowed(&program, kind, major, minor, access),
                    "{kind} {major}:{minor} {access}"
                );
            }
        }
    }

    #[test]
    fn the_last_matching_rule_decides_and_access_is_told_apart() {
        let rule = |allow, kind, access| Rule {
            allow,
            kind,
            major: Some(8),
            minor: None,
            access,
        };
        let read = Access {
            read: true,
            write: false,
            mknod: false,
        };
        let program = assemble(&[rule(true, DeviceKind::Block, read)]);
        assert!(allowed(&program, BLOCK, 8, 3, READ));
        assert!(!allowed(&program, BLOCK, 8, 3, READ | WRITE));
        assert!(!allowed(&program, CHARACTER, 8, 3, READ));
        let program = assemble(&[
            rule(true, DeviceKind::Block, Access::ALL),
            rule(false, DeviceKind::Block, read),
        ]);
        assert!(!allowed(&program, BLOCK, 8, 3, READ | WRITE));
        assert!(allowed(&program, BLOCK, 8, 3, WRITE));
        let everything = Rule {
            allow: true,
            kind: DeviceKind::All,
            major: None,
            minor: None,
            access: Access::ALL,
        };
        let program = assemble(&[everything, rule(false, DeviceKind::Block, Access::ALL)]);
        assert!(
            allowed(&program, CHARACTER, 8, 3, WRITE) && !allowed(&program, BLOCK, 8, 3, WRITE)
        );
    }
}
