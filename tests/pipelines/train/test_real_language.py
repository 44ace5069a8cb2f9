"""Stage 1 on a real language model: SmolLM2-135M of the extra `local`, behind a tower with random weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from pipelines.local_model import server
from pipelines.train.freeze import freeze, set_training, trainable
from pipelines.train.models import Built
from pipelines.train.save import save_model
from schemas.train import FreezeConfig, LanguageConfig
from tests.pipelines.train.parts import WIDTH, picture


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not server.installed(), reason="needs the extra: uv sync --extra local")
def test_a_projector_learns_in_front_of_it_and_stock_transformers_goes_on(
    builder: Callable[..., Built], tmp_path: Path
) -> None:
    built = freeze(builder(language_config=LanguageConfig(model="local")), FreezeConfig())
    assert trainable(built.model).count == (WIDTH + 1) * 576 + (576 + 1) * 576
    shown, caption = picture(), " A red bus beside two trees."
    question = built.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe it."}]}],
        add_generation_prompt=True,
    )
    inputs = built.processor(images=shown, text=question + caption, return_tensors="pt")
    asked = built.processor(images=shown, text=question, return_tensors="pt")
    labels = inputs["input_ids"].clone()
    labels[:, : asked["input_ids"].shape[1]] = -100
    before = {n: p.clone() for n, p in built.model.named_parameters() if not p.requires_grad}
    set_training(built)
    optimizer = torch.optim.AdamW(built.projector.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = built.model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print("loss", [round(x, 3) for x in losses])
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(p, before[n]) for n, p in built.model.named_parameters() if n in before)

    save_model(built, tmp_path / "model")
    stock = transformers.LlavaForConditionalGeneration.from_pretrained(tmp_path / "model").eval()
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model")
    again = processor(images=shown, text=question, return_tensors="pt")
    built.model.eval()
    with torch.no_grad():
        assert torch.equal(stock(**again).logits, built.model(**asked).logits)
        said = stock.generate(**again, max_new_tokens=8, do_sample=False)
    text = processor.decode(said[0, again["input_ids"].shape[1] :], skip_special_tokens=True)
    print("says", repr(text))
    assert text.strip()
