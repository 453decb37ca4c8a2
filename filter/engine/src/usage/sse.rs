//! The lines of an event stream, cut out of chunks.
//!
//! Only `data` matters: its bytes are handed on as they come, with a line feed after each line, which is how the
//! standard joins several of them; an empty line ends the event. Everything else (comments, names, ids, retry) is
//! skipped. Lines end with LF, CR or CRLF, wherever a chunk is cut. A `[DONE]` is data like any other: no number is in it.
//!
//! Source: the WHATWG HTML standard, section 9.2.6.

const BOM: &[u8] = b"\xEF\xBB\xBF";
const DATA: &[u8] = b"data";

/// What a stream is made of.
pub(crate) enum Piece<'a> {
    /// Bytes of the event's data.
    Data(&'a [u8]),
    /// The event is complete.
    EventEnd,
}

/// Where in the stream the reader is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines {
    place: Place,
    /// The last byte was a CR, so an LF belongs to it.
    after_cr: bool,
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many bytes of a byte order mark.
    Bom(usize),
    /// So many bytes of `data`, 0 at a line's start.
    Name(usize),
    /// Behind the colon, where one blank is skipped.
    Colon,
    Data,
    Skip,
}

impl Default for Place {
    fn default() -> Self {
        Self::Name(0)
    }
}

impl Lines {
    pub(crate) fn read(&mut self, mut chunk: &[u8], hand_on: &mut dyn FnMut(Piece<'_>)) {
        while let Some((&byte, rest)) = chunk.split_first() {
            if core::mem::take(&mut self.after_cr) && byte == b'\n' {
                chunk = rest;
                continue;
            }
            if matches!(byte, b'\n' | b'\r') {
                self.after_cr = byte == b'\r';
                self.end_line(hand_on);
                chunk = rest;
                continue;
            }
            match self.place {
                Place::Data | Place::Skip => {
                    let len = chunk.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(chunk.len());
                    let (line, after) = chunk.split_at_checked(len).unwrap_or((chunk, &[]));
                    if self.place == Place::Data {
                        hand_on(Piece::Data(line));
                    }
                    chunk = after;
                }
                // The blank is skipped, anything else is looked at again as data.
                Place::Colon => {
                    self.place = Place::Data;
                    if byte == b' ' {
                        chunk = rest;
                    }
                }
                Place::Name(read) => {
                    self.place = self.after_name(read, byte);
                    chunk = rest;
                }
                Place::Bom(read) => {
                    self.place = match BOM.get(read) {
                        Some(&expected) if expected == byte && read + 1 == BOM.len() => Place::Name(0),
                        Some(&expected) if expected == byte => Place::Bom(read + 1),
                        _ => Place::Skip,
                    };
                    chunk = rest;
                }
            }
            self.begun = true;
        }
    }

    fn after_name(&self, read: usize, byte: u8) -> Place {
        match DATA.get(read) {
            None if byte == b':' => Place::Colon,
            Some(&expected) if expected == byte => Place::Name(read + 1),
            Some(_) if !self.begun && BOM.first() == Some(&byte) => Place::Bom(1),
            _ => Place::Skip,
        }
    }

    fn end_line(&mut self, hand_on: &mut dyn FnMut(Piece<'_>)) {
        match self.place {
            Place::Name(0) => hand_on(Piece::EventEnd),
            Place::Data | Place::Colon => hand_on(Piece::Data(b"\n")),
            // A bare "data" is an empty line of data; nothing to hand on.
            Place::Name(_) | Place::Bom(_) | Place::Skip => {}
        }
        self.place = Place::Name(0);
        self.begun = true;
    }
}
