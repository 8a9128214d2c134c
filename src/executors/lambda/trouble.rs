//! Calls that the service did not carry out, or whose end nobody knows.

use std::error::Error;
use std::time::Duration;

use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::job::life::shorten;
use crate::outcome::{Class, Failure};

/// What a failed call means; `what` is the call, for the message.
pub fn failure<E>(error: &SdkError<E, HttpResponse>, what: &str) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(answered) => {
            let (code, status) = (answered.err().code().unwrap_or_default(), answered.raw().status().as_u16());
            let said = answered.err().message().unwrap_or("no message");
            let class = class(code, status);
            let mut failure =
                Failure::new(class, format!("{what}: {code} ({status}): {}{}", shorten(said, 500), fix(code, class)));
            let seconds = answered.raw().headers().get("retry-after").and_then(|wait| wait.trim().parse().ok());
            failure.retry_after = seconds.map(|seconds: u64| Duration::from_secs(seconds.min(7 * 24 * 3600)));
            failure
        }
        SdkError::ConstructionFailure(_) => Failure::new(Class::Misconfigured, format!("{what}: {}", chain(error))),
        SdkError::DispatchFailure(_) => dispatch(&chain(error), what),
        _ => unknown(what, &chain(error)),
    }
}

/// The request was sent, or may have been.
pub fn unknown(what: &str, why: &str) -> Failure {
    Failure::new(Class::UnknownOutcome, format!("{what}: no answer, and the function may have run: {why}"))
}

/// Of a request without an answer: not sent at all, where that is known.
fn dispatch(why: &str, what: &str) -> Failure {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if says(&["credentials", "Missing Region", "missing region"]) {
        let fix = "set region, and profile or role, or the usual variables of AWS";
        return Failure::new(Class::Misconfigured, format!("{what}: {why}; {fix}"));
    }
    if says(&["dns error", "tcp connect error", "connect timeout", "invalid peer certificate", "(Connect)"]) {
        return Failure::new(Class::Unavailable, format!("{what}: no connection: {why}"));
    }
    unknown(what, why)
}

/// By the code of the error, and by the status of those that have none we know.
fn class(code: &str, status: u16) -> Class {
    match code {
        "TooManyRequestsException"
        | "ThrottlingException"
        | "Throttling"
        | "EC2ThrottledException"
        | "ENILimitReachedException"
        | "SubnetIPAddressLimitReachedException"
        | "ServiceQuotaExceededException" => Class::Throttled,
        "RequestTooLargeException"
        | "SerializedRequestEntityTooLargeException"
        | "InvalidRequestContentException"
        | "InvalidParameterValueException"
        | "UnsupportedMediaTypeException"
        | "RecursiveInvocationException" => Class::Rejected,
        // what Lambda finds wrong with the function before it runs
        "ResourceNotFoundException"
        | "EC2AccessDeniedException"
        | "EFSMountFailureException"
        | "EFSIOException"
        | "InvalidRuntimeException"
        | "InvalidSecurityGroupIDException"
        | "InvalidSubnetIDException"
        | "InvalidZipFileException"
        | "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "NoPublishedVersionException"
        | "SnapStartException"
        | "ModeNotSupportedException" => Class::Misconfigured,
        code if code.starts_with("S3FilesMount") => Class::Misconfigured,
        // it is being made or changed, or its file system does not answer
        "ResourceConflictException"
        | "ResourceNotReadyException"
        | "ENINotReadyException"
        | "EFSMountConnectivityException"
        | "EFSMountTimeoutException"
        | "SnapStartNotReadyException"
        | "SnapStartRegenerationFailureException"
        | "SnapStartTimeoutException" => Class::Unavailable,
        _ => match status {
            429 => Class::Throttled,
            401 | 403 | 404 => Class::Misconfigured,
            408 | 409 => Class::Unavailable,
            400..=499 => Class::Rejected,
            _ => Class::Unavailable,
        },
    }
}

fn fix(code: &str, class: Class) -> &'static str {
    match (code, class) {
        ("ResourceNotFoundException", _) => "; function, qualifier and region say which one is called",
        (_, Class::Misconfigured) => "; the caller needs lambda:InvokeFunction, by region, profile and role",
        _ => "",
    }
}

/// An error and all that is below it.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        next = error.source();
    }
    shorten(&parts.join(": "), 600).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_service_has_the_class_that_its_verdict_needs() {
        for (code, status, expected) in [
            ("TooManyRequestsException", 429, Class::Throttled),
            ("EC2ThrottledException", 502, Class::Throttled),
            ("ResourceNotFoundException", 404, Class::Misconfigured),
            ("AccessDeniedException", 403, Class::Misconfigured),
            ("ExpiredTokenException", 403, Class::Misconfigured),
            ("KMSDisabledException", 502, Class::Misconfigured),
            ("RequestTooLargeException", 413, Class::Rejected),
            ("InvalidRequestContentException", 400, Class::Rejected),
            ("ResourceConflictException", 409, Class::Unavailable),
            ("EC2UnexpectedException", 502, Class::Unavailable),
            ("EFSMountTimeoutException", 400, Class::Unavailable),
            ("EFSMountConnectivityException", 400, Class::Unavailable),
            ("SnapStartNotReadyException", 400, Class::Unavailable),
            ("SnapStartTimeoutException", 400, Class::Unavailable),
            ("SnapStartRegenerationFailureException", 400, Class::Unavailable),
            ("SnapStartException", 400, Class::Misconfigured),
            ("S3FilesMountFailureException", 400, Class::Misconfigured),
            ("S3FilesMountTimeoutException", 408, Class::Misconfigured),
            ("S3FilesMountConnectivityException", 408, Class::Misconfigured),
            ("", 408, Class::Unavailable),
            ("", 409, Class::Unavailable),
            ("ServiceException", 500, Class::Unavailable),
            ("", 504, Class::Unavailable),
        ] {
            assert_eq!(class(code, status), expected, "{code}");
        }
    }
}
