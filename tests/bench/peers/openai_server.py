"""A peer for the worker's HTTP path: FastAPI on uvicorn (uvloop, httptools), the stack that most Python model servers put in
front of their engine. It answers as the fake engine does, a token a byte, without any model: what is measured is parsing,
validation, answering and streaming alone.

Usage: openai_server.py PORT
"""

import json
import sys
import time
import uuid
from typing import Literal

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str
    messages: list[Message] = Field(min_length=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=256, ge=1)
    stream: bool = False


app = FastAPI()


def answer_to(request: ChatRequest) -> bytes:
    return f"[v1] {request.messages[-1].content}".encode()[: request.max_tokens]


@app.post("/v1/chat/completions")
async def chat(request: ChatRequest):
    answer = answer_to(request)
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": request.model}
    if request.stream:
        return StreamingResponse(events(head, answer), media_type="text/event-stream")
    prompt = sum(len(message.content) for message in request.messages)
    return JSONResponse(
        head
        | {
            "object": "chat.completion",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": answer.decode()}, "finish_reason": "length"}
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": len(answer),
                "total_tokens": prompt + len(answer),
            },
        }
    )


async def events(head: dict, answer: bytes):
    head = head | {"object": "chat.completion.chunk"}
    for index, token in enumerate(answer):
        delta = {"content": chr(token)} if index else {"role": "assistant", "content": chr(token)}
        yield f"data: {json.dumps(head | {'choices': [{'index': 0, 'delta': delta, 'finish_reason': None}]})}\n\n"
    yield f"data: {json.dumps(head | {'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'length'}]})}\n\n"
    yield "data: [DONE]\n\n"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
