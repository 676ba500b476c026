//! The last events as an Atom feed (RFC 4287), in a file that any web server can serve.

use super::event::Event;
use crate::xml::escape;

/// The feed of these events, the newest first. Its identifiers stay the same from one writing to the next.
pub fn feed_of<'a>(events: impl DoubleEndedIterator<Item = &'a Event> + Clone) -> String {
    let newest =
        events.clone().next_back().map_or("1970-01-01T00:00:00Z".to_owned(), |event| event.at.to_string());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n\
         <id>urn:tallystick:monitor</id>\n<title>Checksum databases</title>\n<author><name>tallystick monitor</name></author>\n\
         <updated>{newest}</updated>\n"
    );
    for event in events.rev() {
        let detail = serde_json::to_string_pretty(event).expect("an event has only string keys");
        text += &format!(
            "<entry>\n<id>urn:tallystick:monitor:{}:{}</id>\n<title>{}</title>\n<updated>{}</updated>\n\
             <content type=\"text\">{}</content>\n</entry>\n",
            event.at.as_microsecond(),
            event.id,
            escape(&format!("{}: {}", event.log, event.text)),
            event.at,
            escape(&detail)
        );
    }
    text + "</feed>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::event::EventKind;

    #[test]
    fn texts_are_escaped_and_the_newest_is_first() {
        let event = |id, text: &str| Event {
            id,
            at: "2026-11-21T13:00:00Z".parse().unwrap(),
            log: "a.example".to_owned(),
            kind: EventKind::Silent,
            text: text.to_owned(),
            found: None,
            evidence: None,
        };
        let events = [event(1, "first"), event(2, "<b> & \u{1}")];
        let feed = feed_of(events.iter());
        assert!(feed.contains("<title>a.example: &lt;b&gt; &amp; \\u{1}</title>"), "{feed}");
        assert!(feed.find("&lt;b&gt;").unwrap() < feed.find("first").unwrap(), "{feed}");
        assert_eq!(feed.matches("<entry>").count(), 2);
    }
}
