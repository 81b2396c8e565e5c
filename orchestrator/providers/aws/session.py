"""The connection to AWS, and what its refusals mean in words. The only place that knows botocore's exceptions."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import botocore.loaders
import botocore.session
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError

from ...errors import GpuError
from ...settings import Profile

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_pricing import PricingClient
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

P = ParamSpec("P")
R = TypeVar("R")


class AwsError(GpuError):
    """AWS refused; `code` is its own word for it."""

    def __init__(self, what: str, remedy: str = "", code: str = "") -> None:
        super().__init__(what, remedy)
        self.code = code


class Gone(AwsError):
    """What was named is not there: deleted, or so new that not all of EC2 has heard of it."""


class InUse(AwsError):
    """Something else still depends on it."""


class NoCapacity(AwsError):
    """The zone has no machine of the type free at the moment."""


class NoQuota(AwsError):
    """The account may not have so many vCPUs of the family at once."""


class Already(AwsError):
    """It is so already: somebody else was quicker, or an earlier call was carried out and its answer lost."""


class NotYet(AwsError):
    """EC2 is still busy with an earlier change of the same thing."""


class Unanswered(AwsError):
    """No answer came: it may have been carried out, or not."""


class Throttled(AwsError):
    """AWS asked to be asked later; nothing was done."""


class Denied(AwsError):
    """The credentials may not do it."""


class Spent(AwsError):
    """The client token is that of a machine which has been terminated since."""


class Session:
    """One profile's clients. In the sandbox the credentials are fixed: the developer's own are never looked at."""

    def __init__(self, profile: Profile, endpoint_url: str | None) -> None:
        self.region = profile.region
        self._options: dict[str, Any] = {"endpoint_url": endpoint_url, "config": _config(endpoint_url)}
        if profile.emulated:
            self._botocore = _secluded()
            return
        self._botocore = botocore.session.Session(profile=profile.aws_profile)
        try:
            self._botocore.get_scoped_config()
        except boto.BotoCoreError as error:
            raise _broken_off(error) from error

    def _client(self, service: str, **options: Any) -> Any:
        """What boto3 would make. boto3 itself is not loaded: S3's transfer manager, which comes with it, takes longer
        to import than EC2 to answer."""
        return self._botocore.create_client(service, **{"region_name": self.region, **self._options, **options})

    @functools.cached_property
    def ec2(self) -> EC2Client:
        return cast("EC2Client", self._client("ec2"))

    @functools.cached_property
    def sts(self) -> STSClient:
        return cast("STSClient", self._client("sts"))

    @functools.cached_property
    def ec2_once(self) -> EC2Client:
        """Asks once: for what must not be done twice, and for what is better told at once."""
        once = self._options["config"].merge(Config(retries={"mode": "standard", "total_max_attempts": 1}))
        return cast("EC2Client", self._client("ec2", config=once))

    def elsewhere(self, region: str) -> Session:
        """The same in another region."""
        other = object.__new__(Session)
        other.region, other._options, other._botocore = region, self._options, self._botocore
        return other

    def in_region(self, region: str) -> EC2Client:
        """EC2 in another region, with the same credentials."""
        return cast("EC2Client", self._client("ec2", region_name=region))

    @functools.cached_property
    def pricing(self) -> PricingClient:
        """The price list has endpoints in few regions; this one has the prices of all."""
        # A start waits for it, and there are other figures where it does not answer.
        twice = self._options["config"].merge(Config(retries={"mode": "standard", "total_max_attempts": 2}))
        return cast("PricingClient", self._client("pricing", region_name="us-east-1", config=twice))

    @functools.cached_property
    def quotas(self) -> ServiceQuotasClient:
        return cast("ServiceQuotasClient", self._client("service-quotas"))

    @functools.cached_property
    def ssm(self) -> SSMClient:
        return cast("SSMClient", self._client("ssm"))


def _secluded() -> botocore.session.Session:
    """Fixed credentials, and none of the developer's ~/.aws, whatever `AWS_PROFILE` and its like say."""
    secluded = botocore.session.Session()
    for name in ("config_file", "credentials_file"):
        secluded.set_config_variable(name, os.devnull)
    # No variable of the environment names the section to read.
    secluded.session_var_map["profile"] = (None, None, None, None)
    secluded.set_credentials("sandbox", "sandbox")
    secluded.register_component("data_loader", _models())
    return secluded


@functools.cache
def _models() -> botocore.loaders.Loader:
    """botocore's own descriptions of the services, read once for every profile: EC2's has five megabytes."""
    return botocore.loaders.Loader()


def _config(endpoint_url: str | None) -> Config:
    # A proxy of the environment must not stand between this computer and its own sandbox.
    proxies: dict[str, str] | None = {} if endpoint_url else None
    return Config(
        # A quarter of a minute at most between the first and the last attempt.
        retries={"mode": "standard", "total_max_attempts": 5},
        connect_timeout=10,
        read_timeout=30,
        proxies=proxies,
    )


def in_words(verb: Callable[P, R]) -> Callable[P, R]:
    """Whatever botocore raises leaves `verb` as a GpuError of one sentence."""

    @functools.wraps(verb)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return verb(*args, **kwargs)
        except boto.ClientError as error:
            raise _refused(error) from error
        except boto.BotoCoreError as error:
            raise _broken_off(error) from error
        except ResponseParserError as error:
            what = "AWS answered with something that is not its own language"
            raise Unanswered(what, "Look for a proxy in between, then run it again") from error

    return spoken


_REMEDIES = {
    "AuthFailure": "Check the access key and its secret (`aws configure`), and this computer's clock",
    "InvalidClientTokenId": "Check the access key (`aws configure`)",
    "SignatureDoesNotMatch": "Check the secret access key (`aws configure`)",
    "ExpiredToken": "Sign in again, for instance with: aws sso login",
    "ExpiredTokenException": "Sign in again, for instance with: aws sso login",
    "RequestExpired": "Set this computer's clock, or sign in again",
    "OptInRequired": "Finish the registration of the AWS account, and enable the region",
    "VpcLimitExceeded": "Delete a VPC that is not used, or ask for a higher quota",
    "AddressLimitExceeded": "Release an elastic IP that is not used, or ask for a higher quota",
    "InvalidAMIID.NotFound": "Check `image` in the profile, and that it is of the profile's region",
    "InvalidAMIID.Malformed": "Check `image` in the profile: it is the name of an AMI, ami-...",
    "OperationNotPermitted": "Lift its protection (permission ec2:ModifyInstanceAttribute), and run it again",
    "IdempotentParameterMismatch": "Run `gpu destroy` and begin anew, if it goes on saying so",
}
_DENIED = frozenset(
    {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "DependencyAccessDeniedException"}
)
_SERVICES = {
    "GetCallerIdentity": "sts",
    "GetParameter": "ssm",
    "GetProducts": "pricing",
    "GetServiceQuota": "servicequotas",
    "GetAWSDefaultServiceQuota": "servicequotas",
    "RequestServiceQuotaIncrease": "servicequotas",
    "ListRequestedServiceQuotaChangeHistory": "servicequotas",
    "ListRequestedServiceQuotaChangeHistoryByQuota": "servicequotas",
}
"""Of the operations that are not EC2's."""
_FULL = frozenset({"InsufficientInstanceCapacity", "InsufficientHostCapacity", "Unsupported"})
_NO_QUOTA = frozenset({"VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"})
_ALREADY = frozenset(
    {"InvalidPermission.Duplicate", "Resource.AlreadyAssociated", "RouteAlreadyExists", "InvalidKeyPair.Duplicate"}
    | {"InvalidGroup.Duplicate", "InvalidSubnet.Conflict", "InvalidAMIName.Duplicate"}
)
_THROTTLED = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException"})
_NOT_YET = frozenset({"IncorrectSpotRequestState", "IncorrectInstanceState", "InvalidInstanceID"})
_UNSURE = frozenset({"InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "RequestTimeout"})


def _refused(error: boto.ClientError) -> AwsError:
    action = error.operation_name
    code = str(error.response.get("Error", {}).get("Code", "Unknown"))
    said = (
        str(error.response.get("Error", {}).get("Message", "")).split(" Encoded authorization")[0].strip().rstrip(".")
    )
    what = f"AWS refused {action}: {code}: {said[:300]}"
    if re.match(r"Signature (expired|not yet current)", said):
        return AwsError(f"this computer's clock is wrong, says AWS: {said[:300]}", "Set the clock, and try again", code)
    if code in _DENIED:
        permission = re.search(r"perform: ([\w-]+:\w+)", said)
        name = permission[1] if permission else f"{_SERVICES.get(action, 'ec2')}:{action}"
        remedy = (
            f"Ask the account's administrator for the permission {name}; "
            f"`gpu doctor --policy` prints all that gpu needs"
        )
        return Denied(f"these credentials may not {action}", remedy, code)
    if code in _FULL:
        remedy = "Try again later, or name another type with: gpu start --type TYPE"
        return NoCapacity(f"AWS has no such machine free in any zone that was tried: {said[:300]}", remedy, code)
    if code in _NO_QUOTA:
        remedy = "See it with `gpu quota`, and ask for more with: gpu quota --request"
        return NoQuota(f"this account may not have such a machine now: {said[:300]}", remedy, code)
    if code == "IdempotentInstanceTerminated":
        # Since 2025; before, the dead machine was answered. https://github.com/boto/boto3/issues/4406
        return Spent(what, "Run the same command again", code)
    if code in _ALREADY:
        return Already(what, "Run the same command again", code)
    if code in _NOT_YET:
        return NotYet(what, "Run the same command again in a minute", code)
    if code in _THROTTLED:
        return Throttled(f"AWS asks for patience ({action}: {code})", "Run the same command again in a minute", code)
    if code in _UNSURE:
        return Unanswered(what, "Run the same command again; it goes on where it stopped", code)
    if code in ("DependencyViolation", "InvalidIPAddress.InUse", "InvalidSnapshot.InUse"):
        return InUse(what, "Delete what else was put into it, then try again", code)
    if re.fullmatch(r"(Invalid.*NotFound|.*NotFoundException|ParameterNotFound|Gateway.NotAttached)", code):
        return Gone(what, _REMEDIES.get(code, "Try again; gpu looks anew each time"), code)
    return AwsError(what, _REMEDIES.get(code, "Run the same command again; it goes on where it stopped"), code)


def _broken_off(error: boto.BotoCoreError) -> AwsError:
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        remedy = "Run `aws configure`, or rehearse free of charge with: gpu --profile sandbox start"
        return AwsError("there are no AWS credentials on this computer", remedy, "NoCredentials")
    if isinstance(error, boto.ProfileNotFound):
        return AwsError(f"{error}".rstrip("."), "Check `aws_profile` in the profile, or run `aws configure`")
    if isinstance(error, (boto.TokenRetrievalError, boto.SSOError)):
        return AwsError("the sign-in to AWS has expired", "Sign in again, for instance with: aws sso login")
    if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
        return Unanswered(f"AWS cannot be reached: {error}".rstrip("."), "Check the network, then run it again")
    return AwsError(f"AWS: {error}".rstrip("."), "Check ~/.aws/config and the profile's settings")
