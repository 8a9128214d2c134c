//! What the client and the service say, as sentences with the fix.

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::BatchResultErrorEntry;

use crate::ports::QueueError;

/// Entries that will never be taken as they are.
const REFUSED: [&str; 5] =
    ["InvalidMessageContents", "InvalidParameterValue", "InvalidAttributeValue", "MessageTooLong", "BatchRequestTooLong"];

/// Of a handle whose lease is over, or whose message is gone.
const LOST: [&str; 3] = ["ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidReceiptHandle"];

/// Of a queue that is not there.
pub(super) const MISSING: &str =
    "it does not exist: \"windlass queues create\" makes it, or \"topology: declare\" when it is first needed";

/// The service's own word for what is wrong, where it answered at all.
pub(super) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    code.rsplit(['.', '#']).next().unwrap_or(code)
}

pub(super) fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    ["NonExistentQueue", "QueueDoesNotExist"].contains(&code(error))
}

pub(super) fn is_denied<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    ["AccessDenied", "AccessDeniedException"].contains(&code(error))
}

/// Of a step on `what`, such as `queue "orders"`, at `place`.
pub(super) fn doing<E>(what: &str, place: &str, error: &SdkError<E, HttpResponse>) -> QueueError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let words = || error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or("no reason given").to_owned();
    let why = match (error, code(error)) {
        (_, "NonExistentQueue" | "QueueDoesNotExist") => MISSING.to_owned(),
        (_, "AccessDenied" | "AccessDeniedException") => {
            format!("a permission is missing: {}; add it to the policy of the user or role (docs/sqs.md lists them)", words())
        }
        (
            _,
            "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "InvalidAccessKeyId"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "MissingAuthenticationToken",
        ) => format!("the credentials are refused: {}; look at \"profile\", \"role\" and the AWS_* variables", words()),
        (SdkError::ServiceError(_), "") => format!("an answer that is none of SQS: {}", DisplayErrorContext(error)),
        (SdkError::ServiceError(_), code) => format!("{code}: {}", words()),
        _ => unanswered(&DisplayErrorContext(error).to_string()),
    };
    QueueError::Unavailable(format!("{what} at {place}: {why}"))
}

/// The service was never reached, or never answered.
fn unanswered(chain: &str) -> String {
    if chain.contains("redential") {
        let fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a \"profile\", or give the machine a role";
        return format!("there are no AWS credentials: {fix} ({chain})");
    }
    if chain.contains("region") {
        return "no region is known: name it as \"region\", or in AWS_REGION".into();
    }
    if chain.contains("timeout") || chain.contains("timed out") {
        return "it does not answer in time".into();
    }
    format!("it cannot be reached: {chain}")
}

/// Of one entry of a request that was answered as a whole.
pub(super) fn entry(what: &str, failed: &BatchResultErrorEntry) -> QueueError {
    let code = failed.code().rsplit(['.', '#']).next().unwrap_or_default();
    if LOST.contains(&code) {
        return QueueError::LeaseLost;
    }
    let sentence = format!("{what}: {code}: {}", failed.message().unwrap_or("no reason given"));
    if failed.sender_fault() && REFUSED.contains(&code) {
        QueueError::Refused(sentence)
    } else {
        QueueError::Unavailable(sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_refused_for_good_only_where_the_message_itself_is_at_fault() {
        let failed = |code: &str, ours| BatchResultErrorEntry::builder().id("0").code(code).sender_fault(ours).build().unwrap();
        assert!(matches!(entry("q", &failed("InvalidMessageContents", true)), QueueError::Refused(_)));
        for (code, ours) in [("InternalError", false), ("AWS.SimpleQueueService.Throttled", true), ("KmsDisabled", true)] {
            assert!(matches!(entry("q", &failed(code, ours)), QueueError::Unavailable(_)), "{code}");
        }
    }
}
