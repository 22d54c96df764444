#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn messages_arrive_as_sent() {
    let (parent, child) = pair().unwrap();
    let failed = Failed {
        step: Step::OwnProgram,
        index: 7,
        errno: Errno::PERM,
    };
    child.send(&Message::Failed(failed)).unwrap();
    let text = vec![b'x'; 1000];
    child
        .send(&Message::NotExecuted {
            index: 1,
            errno: 2,
            finding: 3,
            text,
        })
        .unwrap();
    child
        .send(&Message::Ready(Some(
            std::fs::File::open("/dev/null").unwrap().into(),
        )))
        .unwrap();
    drop(child);
    assert!(matches!(parent.receive().unwrap(), Some(Message::Failed(got)) if got == failed));
    let Some(Message::NotExecuted {
        index: 1,
        errno: 2,
        finding: 3,
        text,
    }) = parent.receive().unwrap()
    else {
        panic!()
    };
    assert_eq!(text.len(), SIZE - HEAD);
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
