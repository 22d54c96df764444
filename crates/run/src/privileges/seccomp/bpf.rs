//! Compiles a policy to classic BPF, see seccomp(2).
//!
//! A program first branches by architecture, then finds the number of the call by binary search over ranges of numbers that share
//! an action: about seven comparisons for the default policy, where a linear list takes hundreds. Only calls with conditions load
//! arguments, so the kernel can prove that all others pass and skip the filter for them (its action cache, since Linux 5.11).
//!
//! Uses the standard library alone, as the build script compiles the default filter with it.

use super::policy::{Action, Arch, Comparison, Condition, Policy};
use super::syscalls::Table;

/// `struct sock_filter` of `linux/filter.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions skipped when a comparison holds.
    pub jt: u8,
    /// Instructions skipped when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// The most instructions the kernel takes: `BPF_MAXINSNS` of `linux/bpf_common.h`.
pub const MOST_INSTRUCTIONS: usize = 4096;

/// `BPF_LD | BPF_W | BPF_ABS`: load the word at offset k of `struct seccomp_data`.
pub const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
pub const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
pub const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
pub const JEQ: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`.
pub const JGT: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`.
pub const JGE: u16 = 0x35;
/// `BPF_RET | BPF_K`.
pub const RETURN: u16 = 0x06;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The first number of x32, `__X32_SYSCALL_BIT` of `asm/unistd.h`.
const X32: u32 = 0x4000_0000;
/// Where 32-bit ARM keeps its private calls, far behind all others: `__ARM_NR_BASE`.
const ARM_PRIVATE: u32 = 0x000f_0000;
const ENOSYS: Action = Action::Errno(38);

/// A piece of a program whose jumps all end inside it, and which ends with a return.
type Code = Vec<Instruction>;

/// The code for all numbers from `first` up to the next segment's first.
#[derive(Clone, PartialEq, Eq)]
struct Segment {
    first: u32,
    code: Code,
}

/// Compiles `policy`. The result may be longer than the kernel accepts, see [`MOST_INSTRUCTIONS`].
pub fn compile(policy: &Policy, table: &Table) -> Vec<Instruction> {
    let mut audits: Vec<u32> = Vec::new();
    for audit in policy.arches.iter().map(|arch| arch.audit()) {
        if !audits.contains(&audit) {
            audits.push(audit);
        }
    }
    let mut program = Backwards::default();
    let mut other = program.place(&[answer(Action::KillProcess)]);
    for audit in audits.into_iter().rev() {
        program.search(&segments(policy, table, audit));
        let judge = program.push(load(NUMBER));
        other = program.compare(JEQ, audit, judge, other);
    }
    program.push(load(ARCHITECTURE));
    program.reversed.reverse();
    program.reversed
}

/// A program that is built from its end: jumps only go forward, so every target exists when a jump is added, and returns can be
/// shared. The kernel translates a filter at each start, so every instruction costs time.
///
/// Places are indices into `reversed`.
#[derive(Default)]
struct Backwards {
    reversed: Vec<Instruction>,
    /// Where each piece begins; the latest copy if there are several.
    pieces: Vec<(Code, usize)>,
}

impl Backwards {
    /// Adds an instruction in front of all others.
    fn push(&mut self, instruction: Instruction) -> usize {
        self.reversed.push(instruction);
        self.reversed.len() - 1
    }

    /// How many instructions a jump added now would skip to reach `place`.
    fn distance(&self, place: usize) -> usize {
        self.reversed.len() - 1 - place
    }

    /// The place of `code`, which is added unless an existing copy is in reach of a comparison.
    fn place(&mut self, code: &[Instruction]) -> usize {
        let known = self.pieces.iter().position(|(piece, _)| piece == code);
        if let Some((_, place)) = known.map(|known| &self.pieces[known])
            && self.distance(*place) <= usize::from(u8::MAX)
        {
            return *place;
        }
        self.reversed.extend(code.iter().rev());
        let place = self.reversed.len() - 1;
        match known {
            Some(known) => self.pieces[known].1 = place,
            None => self.pieces.push((code.to_vec(), place)),
        }
        place
    }

    /// Compares the loaded word with `k`. A comparison skips at most 255 instructions, [`JUMP`] any number.
    fn compare(&mut self, code: u16, k: u32, mut yes: usize, mut no: usize) -> usize {
        loop {
            let far = match (
                u8::try_from(self.distance(yes)),
                u8::try_from(self.distance(no)),
            ) {
                (Ok(jt), Ok(jf)) => return self.push(Instruction { code, jt, jf, k }),
                (Err(_), _) => &mut yes,
                (_, Err(_)) => &mut no,
            };
            let distance = self.reversed.len() - 1 - *far;
            *far = self.reversed.len();
            self.push(instruction(JUMP, distance as u32));
        }
    }

    /// Binary search for the segment of the loaded number.
    fn search(&mut self, segments: &[Segment]) -> usize {
        match segments {
            // compile() asks for no architecture without segments.
            [] => self.place(&[answer(ENOSYS)]),
            [segment] => self.place(&segment.code),
            // One number that differs from those around it: one comparison instead of two.
            [before, one, behind]
                if before.code == behind.code && behind.first == one.first + 1 =>
            {
                let (yes, no) = (self.place(&one.code), self.place(&before.code));
                self.compare(JEQ, one.first, yes, no)
            }
            _ => {
                // An odd number keeps numbers that differ together with both neighbours.
                let (lower, upper) = segments.split_at((segments.len() / 2) | 1);
                let (yes, no) = (self.search(upper), self.search(lower));
                self.compare(JGE, upper[0].first, yes, no)
            }
        }
    }
}

/// The segments of one audit architecture, in ascending order and without gaps.
fn segments(policy: &Policy, table: &Table, audit: u32) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut listed: Vec<Arch> = policy
        .arches
        .iter()
        .copied()
        .filter(|arch| arch.audit() == audit)
        .collect();
    listed.sort_unstable();
    listed.dedup();
    for arch in &listed {
        append_arch(&mut segments, policy, table, *arch);
    }
    if listed == [Arch::X86_64] {
        // x32 has the same audit architecture. Its calls fail as on a kernel without x32, where libseccomp would kill.
        segments.push(Segment {
            first: X32,
            code: vec![answer(ENOSYS)],
        });
    }
    segments.dedup_by(|next, previous| next.code == previous.code);
    segments
}

/// Adds the segments of one architecture. Numbers beyond the last one that the policy names are newer calls: ENOSYS makes programs
/// fall back to older calls, while the default action, mostly EPERM, would make them fail.
fn append_arch(segments: &mut Vec<Segment>, policy: &Policy, table: &Table, arch: Arch) {
    let mut numbered: Vec<(u32, usize)> = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        numbered.extend(
            rule.names
                .iter()
                .filter_map(|name| table.number(name, arch))
                .map(|number| (number, index)),
        );
    }
    numbered.sort_unstable_by_key(|(number, index)| (*number, policy.rules[*index].action, *index));

    let unknown = if policy.default.passes() {
        policy.default
    } else {
        ENOSYS
    };
    let newest = numbered
        .iter()
        .map(|(number, _)| *number)
        .filter(|number| arch != Arch::Arm || *number < ARM_PRIVATE);
    let newest = newest.max();
    let mut next = if arch == Arch::X32 { X32 } else { 0 };
    let mut rest = numbered.as_slice();
    while let Some((number, _)) = rest.first().copied() {
        let (mine, others) = rest.split_at(rest.partition_point(|(other, _)| *other == number));
        if number > next {
            let gap = if newest.is_some_and(|newest| next > newest) {
                unknown
            } else {
                policy.default
            };
            segments.push(Segment {
                first: next,
                code: vec![answer(gap)],
            });
        }
        segments.push(Segment {
            first: number,
            code: judgement(policy, mine.iter().map(|(_, index)| *index)),
        });
        next = number + 1;
        rest = others;
    }
    segments.push(Segment {
        first: next,
        code: vec![answer(unknown)],
    });
}

/// The code for one call: its rules, the gravest action first, then the default.
fn judgement(policy: &Policy, rules: impl Iterator<Item = usize>) -> Code {
    let mut code = Vec::new();
    // Rules with the default action are skipped, as in runc and crun.
    for rule in rules
        .map(|index| &policy.rules[index])
        .filter(|rule| rule.action != policy.default)
    {
        if rule.conditions.is_empty() {
            code.push(answer(rule.action));
            return code;
        }
        code.extend(conditional(&rule.conditions, rule.action));
    }
    code.push(answer(policy.default));
    code
}

/// Where a comparison jumps to.
#[derive(Clone, Copy)]
enum Jump {
    /// The next instruction.
    Next,
    /// After this condition, which holds.
    Holds,
    /// After the whole rule, which does not match.
    Fails,
}

/// Code that returns `action` if all `conditions` hold, and otherwise falls through.
fn conditional(conditions: &[Condition], action: Action) -> Code {
    let mut steps: Vec<(Instruction, Jump, Jump, usize)> = Vec::new();
    for condition in conditions {
        let piece = comparison(condition);
        let end = steps.len() + piece.len();
        steps.extend(
            piece
                .into_iter()
                .map(|(instruction, yes, no)| (instruction, yes, no, end)),
        );
    }
    let behind = steps.len() + 1;
    let mut code: Code = Vec::with_capacity(behind);
    for (place, (instruction, yes, no, end)) in steps.into_iter().enumerate() {
        let skip = |target| match target {
            Jump::Next => 0,
            Jump::Holds => end - place - 1,
            Jump::Fails => behind - place - 1,
        };
        // Six conditions of at most six instructions stay far below 256.
        code.push(Instruction {
            jt: skip(yes) as u8,
            jf: skip(no) as u8,
            ..instruction
        });
    }
    code.push(answer(action));
    code
}

/// An instruction, and where it jumps if its test holds and if not.
type Step = (Instruction, Jump, Jump);

/// A 64-bit comparison, made of 32-bit ones: the high word first.
fn comparison(condition: &Condition) -> Vec<Step> {
    use Jump::{Fails, Holds, Next};
    let (low, high) = halves(condition.value);
    let (on_high, on_low) = match condition.comparison {
        Comparison::Eq => (
            vec![branch(JEQ, high, Next, Fails)],
            vec![branch(JEQ, low, Holds, Fails)],
        ),
        Comparison::Ne => (
            vec![branch(JEQ, high, Next, Holds)],
            vec![branch(JEQ, low, Fails, Holds)],
        ),
        Comparison::Gt => (greater(high), vec![branch(JGT, low, Holds, Fails)]),
        Comparison::Ge => (greater(high), vec![branch(JGE, low, Holds, Fails)]),
        Comparison::Lt => (less(high), vec![branch(JGE, low, Fails, Holds)]),
        Comparison::Le => (less(high), vec![branch(JGT, low, Fails, Holds)]),
        Comparison::MaskedEq(mask) => {
            let (mask_low, mask_high) = halves(mask);
            (
                vec![and(mask_high), branch(JEQ, high & mask_high, Next, Fails)],
                vec![and(mask_low), branch(JEQ, low & mask_low, Holds, Fails)],
            )
        }
    };
    let offset = ARGUMENTS + 8 * u32::from(condition.index);
    // Both architectures are little endian: the low word comes first.
    let mut steps = vec![plain(load(offset + 4))];
    steps.extend(on_high);
    steps.push(plain(load(offset)));
    steps.extend(on_low);
    steps
}

/// The high word decides unless it is equal; then the low word does.
fn greater(high: u32) -> Vec<Step> {
    use Jump::{Fails, Holds, Next};
    vec![
        branch(JGT, high, Holds, Next),
        branch(JEQ, high, Next, Fails),
    ]
}

fn less(high: u32) -> Vec<Step> {
    use Jump::{Fails, Holds, Next};
    vec![
        branch(JGT, high, Fails, Next),
        branch(JEQ, high, Next, Holds),
    ]
}

/// The low and the high word.
fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}

fn branch(code: u16, k: u32, yes: Jump, no: Jump) -> Step {
    (instruction(code, k), yes, no)
}

fn plain(instruction: Instruction) -> Step {
    (instruction, Jump::Next, Jump::Next)
}

fn and(mask: u32) -> Step {
    plain(instruction(AND, mask))
}

fn instruction(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn load(offset: u32) -> Instruction {
    instruction(LOAD, offset)
}

fn answer(action: Action) -> Instruction {
    instruction(RETURN, action.value())
}
