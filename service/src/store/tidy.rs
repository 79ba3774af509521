//! What ends by itself is removed by and by.

use super::Store;
use crate::refusal::Refusal;

/// How long error reports are kept after they were last heard of, and what batches they came in.
const REPORTS_S: i64 = 90 * 86_400;
/// How long a certificate that ended is still listed.
const CERTIFICATES_S: i64 = 30 * 86_400;
/// How long a permit that expired is still listed.
const PERMITS_S: i64 = 90 * 86_400;
/// How long a device waits for an owner.
const UNCLAIMED_S: i64 = 30 * 86_400;

impl Store {
    /// Removes what ended before `now`.
    ///
    /// # Errors
    /// What the database said; the next time removes it then.
    pub async fn tidy(&self, now: i64) -> Result<(), Refusal> {
        self.write(move |connection| {
            Box::pin(async move {
                for (statement, before) in [
                    ("DELETE FROM used_nonce WHERE expires <= $1", now),
                    ("DELETE FROM enrolment WHERE expires <= $1", now),
                    ("DELETE FROM invitation WHERE expires <= $1", now),
                    ("DELETE FROM session WHERE refresh_expires <= $1", now),
                    ("DELETE FROM certificate WHERE not_after <= $1", now - CERTIFICATES_S),
                    ("DELETE FROM permit WHERE expires <= $1", now - PERMITS_S),
                    ("DELETE FROM report WHERE heard <= $1", now - REPORTS_S),
                    ("DELETE FROM report_batch WHERE at <= $1", now - REPORTS_S),
                    ("DELETE FROM device WHERE catalog IS NULL AND enrolled <= $1", now - UNCLAIMED_S),
                ] {
                    sqlx::query(statement).bind(before).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
