"""Who the key sk-NAME or sk-NAME.TEAM is, in place of the database that a proxy has for that."""

from litellm.proxy._types import UserAPIKeyAuth


async def user_api_key_auth(request: object, api_key: str) -> UserAPIKeyAuth:  # noqa: ARG001
    name, _, team = api_key.removeprefix("sk-").partition(".")
    return UserAPIKeyAuth(api_key=api_key, user_id=name, team_id=team or None, key_alias=f"alias-{name}")
