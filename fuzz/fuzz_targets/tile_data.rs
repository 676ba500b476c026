//! Records: the texts of a data tile join to the tile; a record that parses formats to the message that it came in;
//! a text that is a record's travels there and back, and every other is refused.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use tallystick::tlog::{
    MAX_TREE_SIZE, RecordId, check_record_text, format_record, is_valid_record_text, parse_record,
    split_data_tile,
};
use tallystick_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    if let Ok(texts) = split_data_tile(data) {
        assert!(texts.iter().all(|text| is_valid_record_text(text.as_bytes())));
        let joined = texts.iter().flat_map(|text| [text, "\n"]).collect::<String>().into_bytes();
        // The blank line after the last record may be missing.
        assert!(joined == data || joined.strip_suffix(b"\n") == Some(data), "{texts:?}");
    }
    if let Ok((id, text, rest)) = parse_record(data) {
        let message = format_record(id, text).expect("the text was parsed out of a record");
        assert_eq!([&message[..], rest].concat(), data);
    }
    let mut input = Input::new(data);
    let id = RecordId(input.number() & MAX_TREE_SIZE.0);
    check_text(id, input.rest());
});

fn check_text(id: RecordId, text: &[u8]) {
    let message = match format_record(id, text) {
        Ok(message) => message,
        Err(error) => return assert_eq!(check_record_text(text), Err(error)),
    };
    assert_eq!(parse_record(&message), Ok((id, text, &b""[..])));
    assert_eq!(parse_record(&[&message[..], text].concat()), Ok((id, text, text)));
    let printed = std::str::from_utf8(text).expect("a record is a text");
    assert_eq!(split_data_tile(text), Ok(vec![printed]));
    assert_eq!(split_data_tile(&[text, b"\n", text, b"\n"].concat()), Ok(vec![printed; 2]));
}
