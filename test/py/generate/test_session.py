# SPDX-License-Identifier: Apache-2.0
"""Sessions, lists of prompts and asyncio on one model: each text is what it is alone."""

from __future__ import annotations

import asyncio
import threading

import pytest

import lumen_mlir
from lumen_mlir import AsyncLLM, LumenError
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.scripted import write_scripted

GREEDY = dict(temperature=0.0)
PROMPTS = [
    "배우들의",
    "오랜만에",
    "이 영화",
    "정말",
    "스토리가",
    "연기는",
    "음악이",
    "감독의",
    "처음부터",
    "다시",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", params=["compiled", "reference"])
def llm(request, cache):
    return lumen_mlir.LLM(engine=request.param, context=256, cache=cache, sequences=4)


@pytest.fixture(scope="module")
def alone(llm):
    """The text behind each prompt, when nothing else is computed."""
    texts = {}
    for prompt in PROMPTS:
        llm.forget()
        texts[prompt] = llm.generate(prompt, 12, **GREEDY).text()
    return texts


@pytest.fixture
def talker(tmp_path, cache):
    """A model that says "yes" to a user, and then "no", with a template."""
    template = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ '<u>' + m.content + '<a>' }}"
        "{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}"
    )
    words = [["<a>", "yes", "</s>"]]
    write_scripted(
        tmp_path / "m.gguf",
        words,
        control=["<u>", "<a>", "</s>"],
        normal=["q"],
        eos="</s>",
        template=template,
    )
    return lumen_mlir.LLM(tmp_path / "m.gguf", cache=cache)


def test_a_text_that_goes_on(llm):
    whole = llm.generate("배우들의", 12, **GREEDY)
    whole.text()
    with llm.session() as session:
        first = session.generate("배우들의", 3, **GREEDY)
        first.text()
        second = session.generate("", 9, **GREEDY)
        second.text()
        assert (
            session.ids == [*whole.prompt, *whole.tokens]
            and second.prompt == session.ids[: len(second.prompt)]
        )
        assert session.text.endswith(first.output + second.output)
        session.extend(" 다시 봐도 재미있는 영화입니다.")
        count = len(session.ids)
        third = session.generate("정말", 2, **GREEDY)
        third.text()
        assert (
            third.prompt[:count] == session.ids[:count] and third.evaluated <= len(third.prompt) - count + 1
        )
        session.reset()
        assert session.ids == [] and session.generate("오랜만에", 12, **GREEDY).text().startswith(
            " 다시 봤는데"
        )
    assert "closed" in repr(session)
    for call in (
        lambda: session.generate("a"),
        lambda: session.fork(),
        session.reset,
        lambda: session.extend("a"),
    ):
        with pytest.raises(LumenError, match="the session is closed"):
            call()


def test_what_was_not_read_does_not_count(llm):
    session = llm.session()
    run = session.generate("배우들의", 12, **GREEDY)
    next(run)
    read = len(run.tokens)
    session.extend(" 연기")
    assert run.finish_reason == "closed" and list(run) == [] and len(run.tokens) == read
    assert session.ids[: len(run.prompt) + read] == [*run.prompt, *run.tokens]


def test_forks_part(llm, alone):
    one = llm.session()
    one.extend("배우들의")
    other = one.fork()
    other.extend(" 다른")
    assert one.generate("", 12, **GREEDY).text() == alone["배우들의"]
    assert other.ids[: len(one.ids) - 6] != one.ids and other.text.endswith("배우들의 다른")


def test_saving(llm, alone, cache, tmp_path):
    path = tmp_path / "text.kv"
    session = llm.session()
    with pytest.raises(LumenError, match="the session has no text to save"):
        session.save(path)
    session.extend("배우들의")
    if llm.engine == "reference":
        with pytest.raises(LumenError, match="the reference cannot save texts"):
            session.save(path)
        with pytest.raises(LumenError, match="the reference cannot load texts"):
            llm.load_session(path)
        return
    filler = llm.tokenize("이 영화는 정말 재미있게 봤어요. " * 4)
    session.reset()
    session.extend([*filler, *llm.tokenize("배우들의", add_bos=False)])
    expected = session.fork().generate("", 12, **GREEDY).text()
    assert session.save(path) == path.stat().st_size
    llm.forget()
    for other in (llm, lumen_mlir.LLM(context=256, cache=cache, threads=1)):
        loaded = other.load_session(path)
        assert loaded.ids == session.ids
        run = loaded.generate("", 12, **GREEDY)
        assert run.text() == expected and run.evaluated == 1
    with pytest.raises(LumenError, match="text.kv: the snapshot cannot be loaded: it was written with"):
        lumen_mlir.LLM(context=256, cache=cache, kv_type="f32").load_session(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(LumenError, match="text.kv: the snapshot is damaged"):
        llm.load_session(path)
    llm.save_text(session.ids, path, "{}")
    with pytest.raises(LumenError, match="text.kv: it is no session"):
        llm.load_session(path)
    with pytest.raises(LumenError, match="nowhere/text.kv: .*No such file"):
        session.save(tmp_path / "nowhere" / "text.kv")
    assert session.generate("", 12, **GREEDY).text() == expected


def test_a_chat_that_is_saved(talker, tmp_path):
    session = talker.session()
    assert session.chat("q").text() == "yes"
    session.save(tmp_path / "chat.kv")
    loaded = talker.load_session(tmp_path / "chat.kv")
    assert loaded.conversation.request() == session.conversation.request() and loaded.ids == session.ids
    assert loaded.chat("q").text() == "yes" and loaded.conversation.turns == 2


def test_saving_while_others_write(llm, alone, tmp_path):
    """All places are taken by texts that nobody reads."""
    if llm.engine == "reference":
        pytest.skip("the reference cannot save texts")
    runs = [llm.generate(prompt, 100, ignore_eos=True) for prompt in PROMPTS]
    for run in runs:
        next(run)
    session = llm.session()
    session.extend("배우들의")
    session.save(tmp_path / "text.kv")
    assert llm.load_session(tmp_path / "text.kv").generate("", 12, **GREEDY).text() == alone["배우들의"]


def test_too_long(llm):
    session = llm.session()
    session.extend([5] * 200)
    with pytest.raises(LumenError, match="300 tokens do not fit the context of 256 tokens"):
        session.extend([5] * 100)
    with pytest.raises(LumenError, match="the prompt is 300 tokens long"):
        session.generate([5] * 100)
    assert len(session.ids) == 200


def test_a_chat(talker):
    session = talker.session()
    assert session.chat("q").text() == "yes"
    second = session.chat("q")
    assert second.text() == "yes"
    assert talker.detokenize(second.prompt, special=True) == "<u>q<a>yes</s><u>q<a>"
    assert session.conversation.turns == 2 and session.conversation.question == "q"
    other = session.fork()
    # An answer that was not read was not given; the question can be asked again.
    other.chat("q")
    third = other.chat("q")
    assert talker.detokenize(third.prompt, special=True) == "<u>q<a>yes</s>" * 2 + "<u>q<a>"
    assert third.text() == "yes" and session.conversation.turns == 2
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "no"}]
    session.reset()
    session.chat([*messages, messages[0]]).text()
    assert session.conversation.request()[1:] == [
        messages[1],
        messages[0],
        {"role": "assistant", "content": "yes"},
    ]
    with pytest.raises(LumenError):
        session.chat([{"role": "user", "content": 5}])
    assert session.conversation.turns == 2


def test_a_list_of_prompts(llm, alone):
    llm.forget()
    told = []
    runs = llm.generate(PROMPTS, 12, **GREEDY)
    assert len(runs) == len(PROMPTS) and not told
    assert runs.texts(lambda done, total: told.append((done, total))) == list(alone.values())
    assert told == [(done, 10) for done in range(1, 11)]
    assert runs[3].output == alone["정말"] and [run.output for run in runs[:2]] == list(alone.values())[:2]
    ids = [llm.tokenize(prompt) for prompt in PROMPTS]
    assert llm.generate(ids, 12, **GREEDY).texts() == list(alone.values())
    # In the order in which they come.
    texts = [""] * len(PROMPTS)
    for number, piece in llm.generate(PROMPTS, 12, **GREEDY).pieces():
        texts[number] += piece
    assert texts == list(alone.values())
    with pytest.raises(LumenError, match="prompt 1: the prompt is 300 tokens long"):
        llm.generate([[5], [5] * 300])
    with pytest.raises(LumenError, match="prompt 0: token id -1 is outside"):
        llm.generate([[-1]])
    assert llm.generate(["a"], 0).texts() == [""]


def test_one_of_a_list_fails(llm, alone, monkeypatch):
    runs = llm.generate(PROMPTS, 12, **GREEDY)

    def fail(logits):
        raise LumenError("no")

    monkeypatch.setattr(runs[4].request, "draw", fail)
    with pytest.raises(LumenError, match="prompt 4: no"):
        runs.texts()
    expected = [text for number, text in enumerate(alone.values()) if number != 4]
    assert [run.output for number, run in enumerate(runs) if number != 4] == expected


def test_threads_and_seeds(llm):
    """A seed's text depends on nothing else."""

    def draw(prompt, seed):
        return llm.generate(prompt, 10, temperature=1.2, seed=seed).text()

    expected = {(prompt, seed): draw(prompt, seed) for prompt in PROMPTS[:4] for seed in (1, 2)}
    found, threads = {}, []
    for key in expected:
        threads.append(threading.Thread(target=lambda key=key: found.update({key: draw(*key)})))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if llm.engine == "compiled":
        assert found == expected
    assert found.keys() == expected.keys()


def test_asyncio(llm, alone):
    async def main():
        model = AsyncLLM(llm)
        tasks = [model.generate(prompt, 12, **GREEDY).text() for prompt in PROMPTS]
        assert await asyncio.gather(*tasks) == list(alone.values())
        run = model.generate("배우들의", 12, **GREEDY)
        pieces = [piece async for piece in run]
        assert "".join(pieces) == alone["배우들의"] and len(pieces) > 1
        assert run.generation.finish_reason == "end"
        # One that is given up, one whose task is cancelled, one that nobody reads.
        early = model.generate("이 영화", 200, temperature=1, ignore_eos=True)
        assert await anext(early)
        await early.aclose()
        assert [piece async for piece in early] == []
        slow = asyncio.create_task(model.generate("이 영화", 200, temperature=1, ignore_eos=True).text())
        await asyncio.sleep(0.01)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        model.generate("이 영화")
        with pytest.raises(LumenError, match="temperature is -1"):
            model.generate("a", temperature=-1)
        assert await model.generate("배우들의", 12, **GREEDY).text() == alone["배우들의"]

    asyncio.run(main())


def test_asyncio_opens_and_closes(cache):
    async def main():
        async with await AsyncLLM.open(cache=cache, context=64) as model:
            run = model.generate("배우들의", 30, ignore_eos=True)
            await anext(run)
        with pytest.raises(LumenError, match="the model is closed"):
            async for _ in run:
                pass

    asyncio.run(main())
