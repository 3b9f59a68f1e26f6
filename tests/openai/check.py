"""The official client against a server, as programs use it: python check.py http://127.0.0.1:8080/v1 KEY [MODEL]"""

import json
import sys

import openai

url, key = sys.argv[1:3]
client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
model = sys.argv[3] if len(sys.argv) > 3 else client.models.list().data[0].id
messages = [{"role": "user", "content": "Who was Moses?"}]
tools = [{"type": "function", "function": {"name": "look_up", "description": "Looks a name up",
          "parameters": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}}, "required": ["name"],
                         "additionalProperties": False}}}]
usual = {"model": model, "temperature": 0, "max_tokens": 16}


def completion():
    whole = client.completions.create(prompt="In the beginning", logprobs=2, **usual)
    assert whole.choices[0].finish_reason in ("length", "stop")
    assert len(whole.choices[0].logprobs.tokens) == whole.usage.completion_tokens
    pieces = client.completions.create(prompt="In the beginning", stream=True, **usual)
    assert "".join(p.choices[0].text for p in pieces) == whole.choices[0].text


def chat():
    whole = client.chat.completions.create(messages=messages, **usual)
    again = client.chat.completions.create(messages=messages, **usual)
    assert whole.choices[0].message.content == again.choices[0].message.content
    assert whole.choices[0].message.role == "assistant"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    sampled = {**usual, "temperature": 1.0, "seed": 7}
    one, two = (client.chat.completions.create(messages=messages, n=2, **sampled) for _ in range(2))
    assert [c.message.content for c in one.choices] == [c.message.content for c in two.choices]


def embeddings():
    found = client.embeddings.create(model=model, input=["In the beginning", "And the LORD said", "In the beginning"])
    one, two, three = (item.embedding for item in found.data)
    assert one == three and one != two and found.usage.prompt_tokens > 3
    assert abs(sum(x * x for x in one) - 1) < 1e-5
    plain = client.embeddings.create(model=model, input="In the beginning", encoding_format="float").data[0].embedding
    assert all(abs(a - b) < 1e-7 for a, b in zip(one, plain, strict=True))


def stream():
    whole = client.chat.completions.create(messages=messages, **usual)
    pieces = list(client.chat.completions.create(messages=messages, stream=True, stream_options={"include_usage": True}, **usual))
    text = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert text == whole.choices[0].message.content, (text, whole)
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [p.choices[0].finish_reason for p in pieces if p.choices][-1] == whole.choices[0].finish_reason


def stop():
    whole = client.chat.completions.create(messages=messages, **usual).choices[0].message.content
    words = whole.split(" ")
    if len(words) > 4:
        cut = client.chat.completions.create(messages=messages, stop=[" " + words[3]], **usual).choices[0]
        assert cut.finish_reason == "stop" and cut.message.content == whole[: whole.index(" " + words[3])]


def logprobs():
    found = client.chat.completions.create(messages=messages, logprobs=True, top_logprobs=3, **usual)
    content = found.choices[0].logprobs.content
    assert len(content) == found.usage.completion_tokens
    assert all(len(t.top_logprobs) == 3 and t.logprob <= 0 for t in content)
    assert all(t.top_logprobs[0].token == t.token for t in content)


def tool_calls():
    found = client.chat.completions.create(messages=messages, tools=tools, **usual).choices[0]
    for call in found.message.tool_calls or []:
        json.loads(call.function.arguments)
    named = {"type": "function", "function": {"name": "look_up"}}
    for choice in ("required", named):
        forced = client.chat.completions.create(messages=messages, tools=tools, tool_choice=choice, **{**usual, "max_tokens": 200}).choices[0]
        assert forced.finish_reason == "tool_calls" and forced.message.tool_calls[0].function.name == "look_up", forced
        assert list(json.loads(forced.message.tool_calls[0].function.arguments)) == ["name"], forced
    asked = {"id": "1", "type": "function", "function": {"name": "look_up", "arguments": '{"name": "Moses"}'}}
    told = [*messages, {"role": "assistant", "content": None, "tool_calls": [asked]},
            {"role": "tool", "tool_call_id": "1", "content": "A prophet."}]
    assert client.chat.completions.create(messages=told, tools=tools, **usual).choices[0].message.content is not None


def json_schema():
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 999},
              "kind": {"enum": ["king", "prophet"]}}, "required": ["name", "age", "kind"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}}
    asked = {**usual, "max_tokens": 200}
    found = client.chat.completions.create(messages=messages, response_format=wanted, **asked).choices[0]
    assert found.finish_reason == "stop", found
    person = json.loads(found.message.content)
    assert set(person) == {"name", "age", "kind"} and person["kind"] in ("king", "prophet") and 0 <= person["age"] <= 999, person
    pieces = client.chat.completions.create(messages=messages, response_format=wanted, stream=True, **asked)
    assert json.loads("".join(p.choices[0].delta.content or "" for p in pieces)) == person


def errors():
    def fails(kind, call):
        try:
            call()
        except kind as error:
            assert error.body["message"], error
            return
        raise AssertionError(f"no {kind}")

    ask = client.chat.completions.create
    fails(openai.NotFoundError, lambda: ask(messages=messages, model="no-such-model"))
    fails(openai.BadRequestError, lambda: ask(messages=[], model=model))
    fails(openai.BadRequestError, lambda: ask(messages=messages, model=model, temperature=-1))
    fails(openai.BadRequestError, lambda: ask(messages=[{"role": "user", "content": "word " * 200_000}], model=model))
    other = openai.OpenAI(base_url=url, api_key="wrong", max_retries=0)
    if key:
        fails(openai.AuthenticationError, lambda: other.models.list())


for check in (completion, chat, embeddings, stream, stop, logprobs, tool_calls, json_schema, errors):
    check()
    print(check.__name__, "passes", flush=True)
