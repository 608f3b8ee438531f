#!/usr/bin/env python3
"""One conversation through PyPI's langchain-openai, and what stands on it. `langchain_chat.py URL`."""

import asyncio
import sys

import openai
import pydantic
from checks import check, run
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


class Report(pydantic.BaseModel):
    """What a structured answer is made of."""

    fault: bool
    count: int = pydantic.Field(ge=0, le=9)


def model(url, tokens=24):
    name = openai.OpenAI(base_url=url, api_key="none").models.list().data[0].id
    return ChatOpenAI(model=name, base_url=url, api_key="none", max_tokens=tokens, temperature=0)


@check
def conversation(url):
    """two turns, with a system's message"""
    said = [SystemMessage("Be short."), HumanMessage("Say hello to the river.")]
    first = model(url).invoke(said)
    assert isinstance(first, AIMessage) and first.content and first.usage_metadata["output_tokens"] > 0
    second = model(url).invoke([*said, first, HumanMessage("And to the garden.")])
    assert second.usage_metadata["input_tokens"] > first.usage_metadata["input_tokens"]
    assert second.usage_metadata["input_token_details"]["cache_read"] > 0, second.usage_metadata


@check
def streamed(url):
    """streamed, the same text"""
    whole = model(url).invoke("Say hello.").content
    assert "".join(chunk.content for chunk in model(url).stream("Say hello.")) == whole


@check
def batched(url):
    """a batch, and asynchronously"""
    asked = [f"Number {number}." for number in range(6)]
    alone = [model(url).invoke(text).content for text in asked]
    assert [answer.content for answer in model(url).batch(asked)] == alone
    assert [answer.content for answer in asyncio.run(model(url).abatch(asked))] == alone


@check
def structured(url):
    """with_structured_output"""
    found = model(url, tokens=200).with_structured_output(Report, method="json_schema").invoke("Report.")
    assert isinstance(found, Report)


@check
def embedded(url):
    """embeddings of tokens and of texts"""
    name = openai.OpenAI(base_url=url, api_key="none").models.list().data[0].id
    texts = OpenAIEmbeddings(model=name, base_url=url, api_key="none", check_embedding_ctx_length=False)
    assert len(texts.embed_documents(["The river", "A garden"])) == 2


if __name__ == "__main__":
    run("langchain", f"{sys.argv[1]}/v1")
