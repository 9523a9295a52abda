//! Filling a page from rows until it has as many items, or as many bytes, as it may have. Rows are asked for a few at a time,
//! so that what is read beyond the page is bounded too.
use sqlx::{FromRow, Row, postgres::PgRow};

/// Longest page.
pub(crate) const MAX_PAGE: u32 = 500;

/// Rows of one statement: beyond its bytes a page reads at most this many documents.
const ROWS: usize = 16;

/// A page that is being filled.
pub(crate) struct Filling<T> {
    items: Vec<T>,
    limit: usize,
    /// Bytes that are left.
    room: usize,
    asked: usize,
    ended: bool,
    more: bool,
}

impl<T> Filling<T> {
    /// For `limit` items (1 to [`MAX_PAGE`]) and about `bytes` of rows; the first item is always in it.
    pub(crate) fn new(limit: u32, bytes: usize) -> Self {
        let limit = limit.clamp(1, MAX_PAGE) as usize;
        Self { items: Vec::new(), limit, room: bytes, asked: 0, ended: false, more: false }
    }

    /// How many rows to read after [`Filling::last`]; `None` when the page is done. One more than fits tells whether a page
    /// follows.
    pub(crate) fn ask(&mut self) -> Option<i64> {
        if self.ended {
            return None;
        }
        self.asked = ROWS.min(self.limit + 1 - self.items.len());
        i64::try_from(self.asked).ok()
    }

    /// Takes the rows that were read, as far as they fit.
    pub(crate) fn take<R>(&mut self, rows: &[PgRow], item: impl Fn(R) -> T) -> sqlx::Result<()>
    where
        R: for<'r> FromRow<'r, PgRow>,
    {
        self.ended = rows.len() < self.asked;
        for row in rows {
            let bytes = size(row);
            if self.items.len() == self.limit || (bytes > self.room && !self.items.is_empty()) {
                (self.ended, self.more) = (true, true);
                return Ok(());
            }
            self.room = self.room.saturating_sub(bytes);
            self.items.push(item(R::from_row(row)?));
        }
        Ok(())
    }

    /// The last item so far.
    pub(crate) fn last(&self) -> Option<&T> {
        self.items.last()
    }

    /// The items, and whether a page follows.
    pub(crate) fn end(self) -> (Vec<T>, bool) {
        (self.items, self.more)
    }
}

/// A page of small rows that were read one more than `limit`: what is in it, and after which id the next begins.
pub(crate) fn cut<T>(mut items: Vec<T>, limit: u32, id: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(id);
    (items, next)
}

/// Bytes of a row as Postgres sent it; JSON is text there.
fn size(row: &PgRow) -> usize {
    let column = |i| row.try_get_raw(i).ok().and_then(|value| Some(value.as_bytes().ok()?.len()));
    (0..row.len()).filter_map(column).sum()
}
