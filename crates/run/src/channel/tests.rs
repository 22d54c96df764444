#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn messages_arrive_as_sent() {
    let (parent, child) = pair().unwrap();
    let failed = Failed {
        step: Step::Seal,
        index: 7,
        errno: Errno::PERM,
    };
    child.send(&Message::Failed(failed)).unwrap();
    child
        .send(&Message::Ready(Some(
            std::fs::File::open("/dev/null").unwrap().into(),
        )))
        .unwrap();
    drop(child);
    assert!(matches!(parent.receive().unwrap(), Some(Message::Failed(got)) if got == failed));
    assert!(matches!(
        parent.receive().unwrap(),
        Some(Message::Ready(Some(_)))
    ));
    assert!(parent.receive().unwrap().is_none());
}

#[test]
fn a_failed_hook_arrives_as_sent() {
    let (parent, child) = pair().unwrap();
    let ends = [
        HookEnd::NoState,
        HookEnd::NotExecuted(Errno::NOENT),
        HookEnd::NotSeen(Errno::MFILE),
        HookEnd::Exited(3),
        HookEnd::Signaled(9),
        HookEnd::TimedOut,
    ];
    for point in [Point::CreateContainer, Point::StartContainer] {
        for end in ends {
            let failure = HookFailure {
                point,
                index: 300,
                end,
            };
            child.send(&Message::Hook(failure)).unwrap();
            let got = parent.receive().unwrap();
            assert!(matches!(got, Some(Message::Hook(got)) if got == failure));
        }
    }
}

#[test]
fn a_message_is_heard_although_an_order_was_not() {
    let (parent, child) = pair().unwrap();
    parent.order(Order::Placed, &[]).unwrap();
    let failed = Failed {
        step: Step::Mount,
        index: 0,
        errno: Errno::LOOP,
    };
    child.send(&Message::Failed(failed)).unwrap();
    drop(child);
    assert!(matches!(parent.receive().unwrap(), Some(Message::Failed(got)) if got == failed));
    assert!(parent.receive().unwrap().is_none());
}

#[test]
fn the_child_sees_the_parent_die() {
    let (parent, child) = pair().unwrap();
    assert!(!child.is_hung_up().unwrap());
    parent
        .order(Order::Placed, &[std::io::stdin().as_fd()])
        .unwrap();
    drop(parent);
    assert!(child.is_hung_up().unwrap());
    let mut files = 0;
    child
        .await_order(Order::Placed, |_| {
            files += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(files, 1);
    assert_eq!(child.await_order(Order::Go, |_| Ok(())), Err(Errno::PIPE));
}

/// What the sealed program says, as `program.rs` writes it.
#[test]
fn why_a_command_was_not_executed_arrives_as_sent() {
    let (parent, child) = pair().unwrap();
    parent.name_senders().unwrap();
    let mut bytes = vec![layout::NOT_EXECUTED, 0];
    bytes.extend(3u16.to_ne_bytes());
    bytes.extend(8i32.to_ne_bytes());
    bytes.extend([0; 4]);
    for number in [0o100_755u32, layout::EXISTS | layout::WAS_READ] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend([b'x'; MOST_READ]);
    rustix::io::write(child.as_fd(), &bytes).unwrap();
    let Some(Message::NotExecuted {
        index: 3,
        errno: 8,
        facts,
        head,
    }) = parent.receive().unwrap()
    else {
        panic!()
    };
    assert_eq!((facts.mode, facts.flags), (0o100_755, 17));
    assert_eq!(head, [b'x'; MOST_READ]);
    let there: Vec<u8> = [layout::ARRIVED].into_iter().chain([0; HEAD - 1]).collect();
    rustix::io::write(child.as_fd(), &there).unwrap();
    let own = std::process::id() as i32;
    assert!(matches!(parent.receive().unwrap(), Some(Message::Arrived(pid)) if pid == own));
}

/// A container with CAP_SYS_PTRACE can get hold of the child's end and write to it.
#[test]
fn what_nobody_sends_is_an_error_and_no_more() {
    let (parent, child) = pair().unwrap();
    let send = |bytes: &[u8]| {
        rustix::io::write(child.as_fd(), bytes).unwrap();
        parent.receive()
    };
    for length in 1..HEAD {
        assert_eq!(send(&vec![1; length]).unwrap_err(), Errno::PROTO);
    }
    for kind in 0..=255u8 {
        for filling in [0, 1, 127, 255] {
            for length in [HEAD, HEAD + 4, HEAD + 8, HEAD + 100, 2 * SIZE] {
                let mut bytes = vec![filling; length];
                bytes[0] = kind;
                match send(&bytes) {
                    Ok(message) => assert!(message.is_some()),
                    Err(errno) => assert_eq!(errno, Errno::PROTO, "{kind} {filling} {length}"),
                }
            }
        }
    }
}
