"""In a process of its own: stock transformers loads a saved model and answers about pictures.

    python -I bench/real_language_stock.py < {"folder", "asked": [{"picture", "text"}], "tokens", "threads"}

Prints a JSON line: what the model is, what its files lack or have too much, and what it says. Imports nothing of this
project.
"""

import json
import sys
from typing import Any


def main() -> None:
    import torch
    from PIL import Image
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    told = json.load(sys.stdin)
    torch.set_num_threads(told["threads"])
    found: Any = LlavaForConditionalGeneration.from_pretrained(told["folder"], output_loading_info=True)
    model, about = found
    processor: Any = AutoProcessor.from_pretrained(told["folder"])
    said = []
    for asked in told["asked"]:
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": asked["text"]}]}
        prompt = processor.apply_chat_template([turn], add_generation_prompt=True)
        picture = Image.open(asked["picture"]).convert("RGB")
        inputs = processor(images=picture, text=prompt, return_tensors="pt").to(model.dtype)
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=told["tokens"], do_sample=False)
        said.append(processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    wrong = {name: sorted(map(str, about[name])) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    known = sorted(name for name in sys.modules if name.partition(".")[0] in ("pipelines", "stages", "schemas"))
    print(json.dumps({"class": type(model).__name__, "wrong": wrong, "ours": known, "said": said}))


if __name__ == "__main__":
    main()
