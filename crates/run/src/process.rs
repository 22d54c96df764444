//! The parent's side of a container: clone, handshake, wait.
//!
//! # What ties a container to the process that starts it
//!
//! Everything that a start needs is in the plan, and the first process holds a copy of it. Three places tie that process to its
//! parent:
//!
//! 1. The death signal. `init/ties.rs` asks for SIGKILL at the parent's death as the first step, and the sealed program asks again
//!    after the change of the user, which clears it (`die_with_box` in `init/confine.rs`). With
//!    [`Options::outlives_caller`](crate::Options::outlives_caller) neither happens.
//! 2. The gate. [`prepare`] has the first process wait for `Order::Go` on a socket pair whose other end only the parent holds; end of
//!    file there ends the process. A start in two processes needs a gate with a name: the OCI's `create` leaves a FIFO in the state
//!    directory, the first process opens it for writing after it has reported `Message::Ready`, and `start` lets it go on by reading
//!    from it, as runc does. The only change in the first process is that one call of `await_order` in `init.rs`.
//! 3. Ownership. [`Prepared`] and [`Running`] kill the container and remove its control group on drop, and only a parent can reap it.
//!    [`Running::release`] gives both up. A process that comes later opens a pidfd by the pid and start time of its state file, and
//!    waits by poll(2) for that to become readable; the exit status is the reaper's to know.
//!
//! Messages after the gate (a step or a hook that fails, a command that cannot be executed) go over the socket pair, too. Without a
//! parent they are lost, and `start` has to be handed the other end by descriptor or to see only that the process has ended.

mod container;
mod ended;
pub mod exec;
mod foreground;
mod guard;
mod lifecycle;
mod prepared;
mod running;
mod session;
mod supervise;
mod supervised;

pub use ended::{Ended, Reason};
pub use lifecycle::Lifecycle;
pub use prepared::{Prepared, launch, prepare};
pub use running::Running;
pub use supervise::Streams;
