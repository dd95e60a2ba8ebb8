"""A callback behind ours, as a guardrail is: it rejects calls of two users."""

from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger


class Rejections(CustomLogger):
    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: Any, call_type: Any) -> None:  # noqa: ARG002
        if user_api_key_dict.user_id == "barred":
            raise HTTPException(status_code=400, detail="rejected before the model is asked")

    async def async_post_call_success_hook(self, data: Any, user_api_key_dict: Any, response: Any) -> None:  # noqa: ARG002
        if user_api_key_dict.user_id == "censored":
            raise HTTPException(status_code=400, detail="rejected after the model has answered")


handler = Rejections()
