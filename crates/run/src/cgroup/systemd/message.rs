//! The D-Bus messages for a scope: one call, and the answers to it.
//!
//! <https://dbus.freedesktop.org/doc/dbus-specification.html#message-protocol-marshaling>, little endian.

use std::io::{self, Read};

/// The value of a property.
pub enum Value {
    /// `b`
    Flag(bool),
    /// `t`
    Long(u64),
    /// `s`
    Text(String),
    /// `au`
    Numbers(Vec<u32>),
}

/// A message from systemd.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// The call succeeded.
    Done,
    /// The call was refused, for this reason.
    Refused(String),
    /// A signal, or another message that does not answer the call.
    Other,
}

/// The serial number of the only call.
const SERIAL: u32 = 1;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;

/// The fields of a header.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// The largest message that the specification allows.
const LARGEST: u32 = 128 << 20;

/// `org.freedesktop.systemd1.Manager.StartTransientUnit(s unit, s mode, a(sv) properties, a(sa(sv)) aux)`.
pub fn start_transient_unit(unit: &str, properties: &[(&str, Value)]) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(unit);
    body.text("fail");
    body.array(8, |body| {
        for (name, value) in properties {
            body.align(8);
            body.text(name);
            body.variant(value);
        }
    });
    body.array(8, |_| {});

    let mut message = Writer(vec![b'l', CALL, 0, 1]);
    message.number(body.0.len() as u32);
    message.number(SERIAL);
    message.array(8, |message| {
        for (field, signature, text) in [
            (PATH, "o", "/org/freedesktop/systemd1"),
            (INTERFACE, "s", "org.freedesktop.systemd1.Manager"),
            (MEMBER, "s", "StartTransientUnit"),
            (DESTINATION, "s", "org.freedesktop.systemd1"),
        ] {
            message.align(8);
            message.0.push(field);
            message.signature(signature);
            message.text(text);
        }
        message.align(8);
        message.0.push(SIGNATURE);
        message.signature("g");
        message.signature("ssa(sv)a(sa(sv))");
    });
    message.align(8);
    message.0.extend(body.0);
    message.0
}

/// Reads one message.
pub fn read(from: &mut impl Read) -> io::Result<Reply> {
    let mut fixed = [0; 16];
    from.read_exact(&mut fixed)?;
    let number =
        |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let (body_length, fields_length) = (number(4), number(12));
    if fixed[0] != b'l' || fixed[3] != 1 {
        return Err(bad("it is not a D-Bus message"));
    }
    if body_length.max(fields_length) > LARGEST {
        return Err(bad("it is longer than D-Bus allows"));
    }
    let mut fields = vec![0; fields_length.next_multiple_of(8) as usize];
    from.read_exact(&mut fields)?;
    fields.truncate(fields_length as usize);
    let mut body = vec![0; body_length as usize];
    from.read_exact(&mut body)?;

    let fields = Fields::read(&fields)?;
    Ok(match fixed[1] {
        RETURN if fields.reply_to == Some(SERIAL) => Reply::Done,
        ERROR if fields.reply_to == Some(SERIAL) => {
            // The first argument of an error is its message, if it has one.
            let text = Reader {
                bytes: &body,
                at: 0,
            }
            .text()
            .unwrap_or_default();
            Reply::Refused(if text.is_empty() { fields.error } else { text })
        }
        _ => Reply::Other,
    })
}

/// The fields of a header that are used here.
#[derive(Default)]
struct Fields {
    reply_to: Option<u32>,
    error: String,
}

impl Fields {
    fn read(bytes: &[u8]) -> io::Result<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let mut found = Self::default();
        while reader.at < bytes.len() {
            reader.align(8);
            let field = reader.byte()?;
            match (field, reader.signature()?.as_str()) {
                (REPLY_SERIAL, "u") => found.reply_to = Some(reader.number()?),
                (ERROR_NAME, "s") => found.error = reader.text()?,
                (_, "u") => drop(reader.number()?),
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                _ => return Err(bad("a header field has an unknown type")),
            }
        }
        Ok(found)
    }
}

fn bad(reason: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("cannot read systemd's answer: {reason}"),
    )
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// The length counts the elements, but not the padding before the first one.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let length = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let bytes = (self.0.len() - start) as u32;
        self.0[length..length + 4].copy_from_slice(&bytes.to_le_bytes());
    }

    fn variant(&mut self, value: &Value) {
        match value {
            Value::Flag(flag) => {
                self.signature("b");
                self.number(u32::from(*flag));
            }
            Value::Long(number) => {
                self.signature("t");
                self.align(8);
                self.0.extend(number.to_le_bytes());
            }
            Value::Text(text) => {
                self.signature("s");
                self.text(text);
            }
            Value::Numbers(numbers) => {
                self.signature("au");
                self.array(4, |writer| {
                    for number in numbers {
                        writer.number(*number);
                    }
                });
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        let end = self.at.saturating_add(length);
        let taken = self
            .bytes
            .get(self.at..end)
            .ok_or_else(|| bad("it ends too early"))?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> io::Result<u32> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.number()? as usize;
        self.text_of(length)
    }

    fn signature(&mut self) -> io::Result<String> {
        let length = usize::from(self.byte()?);
        self.text_of(length)
    }

    fn text_of(&mut self, length: usize) -> io::Result<String> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A message with these header fields and this body.
    fn message(kind: u8, fields: impl FnOnce(&mut Writer), body: &[u8]) -> Vec<u8> {
        let mut message = Writer(vec![b'l', kind, 0, 1]);
        message.number(body.len() as u32);
        message.number(7);
        message.array(8, fields);
        message.align(8);
        message.0.extend(body);
        message.0
    }

    fn reply_to(serial: u32) -> impl FnOnce(&mut Writer) {
        move |writer| {
            writer.align(8);
            writer.0.push(REPLY_SERIAL);
            writer.signature("u");
            writer.number(serial);
        }
    }

    #[test]
    fn answers_to_our_call_are_told_from_others() {
        let read_one = |bytes: &[u8]| read(&mut &*bytes);
        assert_eq!(
            read_one(&message(RETURN, reply_to(SERIAL), b"")).unwrap(),
            Reply::Done
        );
        assert_eq!(
            read_one(&message(RETURN, reply_to(9), b"")).unwrap(),
            Reply::Other
        );
        assert_eq!(read_one(&message(4, |_| {}, b"")).unwrap(), Reply::Other);
        let mut body = Writer::default();
        body.text("no such slice");
        let refused = message(ERROR, reply_to(SERIAL), &body.0);
        assert_eq!(
            read_one(&refused).unwrap(),
            Reply::Refused("no such slice".to_owned())
        );
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let whole = message(RETURN, reply_to(SERIAL), b"12345678");
        for end in 0..whole.len() {
            assert!(read(&mut &whole[..end]).is_err(), "{end}");
        }
        let mut huge = whole.clone();
        huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(read(&mut huge.as_slice()).is_err());
        // A field that says it is longer than the header.
        let lie = message(
            RETURN,
            |writer| {
                writer.0.push(ERROR_NAME);
                writer.signature("s");
                writer.number(u32::MAX);
            },
            b"",
        );
        assert!(read(&mut lie.as_slice()).is_err());
    }
}
