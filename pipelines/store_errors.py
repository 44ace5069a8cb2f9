"""What object stores' clients raise when a request is wrong, as one line with a remedy."""

from schemas.errors import WrongRequest

_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}
_UNREACHABLE = {"EndpointConnectionError", "ConnectTimeoutError", "ClientConnectorError"}
# names, not classes: importing a client to name its errors would cost every command a second


def as_wrong_request(error: BaseException) -> WrongRequest | None:
    """The request's own fault behind an error or one of its causes; None: it is none of those known here."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        found = _known(cause)
        if found is not None:
            return found
        cause = cause.__cause__ or cause.__context__
    return None


def _known(error: BaseException) -> WrongRequest | None:
    name, said = type(error).__name__, str(error)
    if name in _CREDENTIALS:
        return WrongRequest(
            f"no credentials for the object store: {said}",
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, as its client reads them",
        )
    if name in _UNREACHABLE:
        return WrongRequest(f"the object store cannot be reached: {said}", "check the network and AWS_ENDPOINT_URL")
    if isinstance(error, PermissionError):
        return WrongRequest(f"access refused: {said}", "check the folder's permissions, or the store's credentials")
    return None
