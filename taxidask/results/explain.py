"""What AWS says when it refuses, in words that name the table and the remedy."""

from __future__ import annotations

import difflib
import re
from typing import Any

from botocore import exceptions as aws

from taxidask.errors import StoreError
from taxidask.storage.requests import Requests, add
from taxidask.words import command

ACTIONS = (
    "dynamodb:GetItem, Query, PutItem, UpdateItem, DeleteItem, BatchWriteItem, DescribeTable "
    "(and to create it CreateTable, DescribeTimeToLive, UpdateTimeToLive)"
)
# the whole batch may be sent again a little later
TRANSIENT = frozenset(
    {
        *(
            "ProvisionedThroughputExceededException",
            "ThrottlingException",
            "ThrottledException",
            "RequestLimitExceeded",
        ),
        *("Throttling", "TooManyRequestsException", "InternalServerError", "InternalFailure", "ServiceUnavailable"),
        *("RequestTimeout", "RequestTimeoutException", "TransactionInProgressException", "LimitExceededException"),
    }
)
_UNWELL = frozenset({"InternalServerError", "InternalFailure", "ServiceUnavailable"})
_CREDENTIALS = frozenset(
    {
        *("UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "ExpiredToken"),
        *("InvalidSignatureException", "SignatureDoesNotMatch", "MissingAuthenticationTokenException"),
        *("IncompleteSignatureException", "IncompleteSignature", "InvalidAccessKeyId"),
    }
)
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "NotAuthorized"})
_SIGN_IN = "sign in (aws sso login), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def code_of(error: Exception) -> str:
    """The service's error code, or nothing."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, aws.ClientError) else ""


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, aws.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code_of(error) in TRANSIENT or status >= 500
    return isinstance(error, aws.HTTPClientError)


def on_answer(
    response: tuple[Any, dict[str, Any]] | None = None, caught_exception: Exception | None = None, **_: Any
) -> None:
    """Count what will be sent again: botocore's event ``needs-retry.dynamodb.OPERATION``, for every try."""
    if caught_exception is not None:
        add(Requests(lost=1))
    elif response is not None:
        http, parsed = response
        if http.status_code >= 500 or parsed.get("Error", {}).get("Code") in TRANSIENT:
            add(Requests(busy=1))


def in_region(url: str, region: str) -> str:
    """The store's URL with another region.

    Examples
    --------
    >>> in_region("dynamodb://taxidask?region=us-east-1&ttl_days=90", "us-west-2")
    'dynamodb://taxidask?region=us-west-2&ttl_days=90'
    """
    place, _, query = url.partition("?")
    rest = [option for option in query.split("&") if option and not option.startswith("region=")]
    return f"{place}?{'&'.join([f'region={region}', *rest])}"


def is_unreachable(error: Exception) -> bool:
    """Whether nobody answered at all."""
    return isinstance(error, aws.ConnectionError)


def is_dark(error: Exception) -> bool:
    """Whether a region is to be stepped over: it is not there, not well, or takes no more."""
    return is_transient(error) or is_unreachable(error)


def may_go_again(error: Exception, *, answered: bool, alone: bool) -> bool:
    """Whether a batch is sent again for as long as its deadline allows.

    Who has `answered` before may do so again; who never has is rather the wrong address. Where the store is not
    `alone`, another region is asked instead of one that is not well; one that only takes no more for now is waited for.
    """
    if alone:
        return is_transient(error) or (answered and is_unreachable(error))
    return code_of(error) in TRANSIENT - _UNWELL


def explain(error: Exception, *, table: str, region: str, endpoint: str, url: str, operation: str) -> StoreError:
    """The StoreError for what botocore raised."""
    if isinstance(error, aws.ClientError):
        return _refused(error, table, region, endpoint, url, operation)
    if isinstance(error, aws.ProfileNotFound):
        return StoreError(
            f"the AWS profile for the store {url} is not there: {error}", "set AWS_PROFILE to one you have"
        )
    if isinstance(error, (aws.NoRegionError, aws.InvalidRegionError)):
        if isinstance(error, aws.NoRegionError):
            return StoreError(f"no AWS region is known for the store {url}", f"name it: {in_region(url, 'us-east-1')}")
        return StoreError(f"{region!r} is not the name of an AWS region", f"name one: {in_region(url, 'us-east-1')}")
    if isinstance(
        error,
        (
            *(aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError, aws.SSOError),
            *(aws.NoAuthTokenError, aws.TokenRetrievalError),
        ),
    ):
        return StoreError(f"there are no AWS credentials to use the store {url} with: {error}", _SIGN_IN)
    if isinstance(error, (aws.HTTPClientError, aws.ConnectionError)):
        return _unreachable(error, region, endpoint, url)
    return StoreError(f"the store {url} could not do {operation}: {error}", None)


def _refused(error: aws.ClientError, table: str, region: str, endpoint: str, url: str, operation: str) -> StoreError:
    code, said = code_of(error), str(error.response.get("Error", {}).get("Message", ""))
    if code in ("ResourceNotFoundException", "TableNotFoundException"):
        return missing(table, region, endpoint, url)
    if code in _DENIED:
        return StoreError(
            f"AWS denied {operation} on table {table!r} in {region}: {said}",
            f"let this identity do {ACTIONS} on that table",
        )
    if code in _CREDENTIALS:
        if "valid region" in said:
            return StoreError(
                f"{endpoint} is not in region {region}, for which the request was signed: {said}",
                f"name the region of that endpoint: {in_region(url, '…')}",
            )
        return StoreError(
            f"AWS did not accept the credentials for table {table!r} in {region}: {said} ({code})",
            f"{_SIGN_IN}; in a region that has to be switched on first, switch it on",
        )
    if code in TRANSIENT:
        return StoreError(
            f"table {table!r} in {region} was too busy for {operation}, also when asked again: {said} ({code})",
            "wait a minute and try again; look at the table's throttled requests",
        )
    if code == "ValidationException" and re.search(
        r"key element|on the keys|required keys|the key \w+ in the item", said
    ):
        return strange_keys(table, region, url)
    return StoreError(f"table {table!r} in {region} refused {operation}: {said} ({code})", None)


def _unreachable(error: Exception, region: str, endpoint: str, url: str) -> StoreError:
    import boto3

    session = boto3.session.Session()
    known = [
        name for part in session.get_available_partitions() for name in session.get_available_regions("dynamodb", part)
    ]
    if region not in known and ".amazonaws.com" in endpoint:
        near = difflib.get_close_matches(region, known, 5)
        near.sort(key=lambda name: sorted(name) != sorted(region))  # letters in another order are the likeliest slip
        return StoreError(
            f"{region!r} is no AWS region, and {endpoint} does not answer",
            f"did you mean {in_region(url, near[0] if near else 'us-east-1')} ?",
        )
    reason = re.sub(r"\s+", " ", str(error)).strip()
    return StoreError(
        f"the store {url} is out of reach: {endpoint} in {region} does not answer ({type(error).__name__}: {reason})",
        "check the network, the proxy and the endpoint",
    )


def missing(table: str, region: str, endpoint: str, url: str, elsewhere: str | None = None) -> StoreError:
    """The table is not there, or it is, but in region `elsewhere`."""
    if elsewhere:
        return StoreError(
            f"table {table!r} is not in region {region}, but there is one in {elsewhere}",
            f"name the region: {in_region(url, elsewhere)}",
        )
    return StoreError(
        f"there is no table {table!r} in region {region} ({endpoint})",
        f"create it: {command('taxidask store create', store=url)}; "
        f"if it is in another region, name that: {in_region(url, '…')}",
    )


def strange_keys(table: str, region: str, url: str, found: Any = None) -> StoreError:
    """There is a table of that name, but it is not one of ours."""
    keys = f"; its keys are {found}" if found else ""
    return StoreError(
        f"table {table!r} in {region} was not made for results: it has no text keys pk and sk{keys}",
        f"choose another name, and create it: {command('taxidask store create', store=url)}",
    )


def on_aws(endpoint: str) -> bool:
    """Whether an endpoint is one of AWS's own."""
    return ".amazonaws.com" in endpoint or ".api.aws" in endpoint
