//! A record of comma-separated values, as in `--mount`: RFC 4180, as strict as docker.

/// The fields of a record. A field in quotation marks may contain commas and doubled quotation marks; elsewhere a quotation mark is an
/// error.
pub(super) fn fields(record: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = vec![];
    let mut rest = record;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => end_of_quoted(quoted)?,
            None => {
                let (field, after) = match rest.split_once(',') {
                    Some((field, after)) => (field, Some(after)),
                    None => (rest, None),
                };
                if field.contains('"') {
                    return Err(
                        "a quotation mark stands in the middle of a field; quote the whole field",
                    );
                }
                (field.to_owned(), after)
            }
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// The rest of a field that began with a quotation mark, and the text after its comma.
fn end_of_quoted(text: &str) -> Result<(String, Option<&str>), &'static str> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest
            .split_once('"')
            .ok_or("a quotation mark is not closed")?;
        field.push_str(part);
        if let Some(more) = after.strip_prefix('"') {
            field.push('"');
            rest = more;
        } else if after.is_empty() {
            return Ok((field, None));
        } else if let Some(next) = after.strip_prefix(',') {
            return Ok((field, Some(next)));
        } else {
            return Err("something other than a comma follows a closing quotation mark");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas() {
        let read = |text| fields(text).map(|fields| fields.join("|"));
        for (text, expected) in [
            ("", ""),
            ("a,b", "a|b"),
            ("a,", "a|"),
            (r#""a,b",c"#, "a,b|c"),
            (r#"c,"a""b""#, "c|a\"b"),
            (r#""""#, ""),
            (r#""a=,:",b"#, "a=,:|b"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            r#"""#,
            r#""a"#,
            r#"a"b"#,
            r#"a="b,c""#,
            r#""a"b"#,
            r#""a" ,b"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
