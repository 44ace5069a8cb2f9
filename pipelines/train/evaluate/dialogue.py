"""A conversation with a model about one picture, turn after turn."""

from pathlib import Path

from pipelines.train.evaluate.generate import Asker
from schemas.errors import PairmillError, WrongData, WrongRequest
from schemas.evaluate import Answer, Question, Unanswered
from stages.measure.decode import Undecodable, decode


def picture_of(path: Path) -> bytes:
    """An encoded picture. Raises WrongRequest where there is no file, WrongData where it does not decode."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WrongRequest(f"{path} cannot be read: {error.strerror}", "give the path of a picture") from error
    try:
        decode(data, None)
    except Undecodable as error:
        raise WrongData(f"{path} is no picture that decodes: {error}", "give a JPEG, PNG or WebP") from error
    return data


class Dialogue:
    """What was said so far is said again before each question, as in training."""

    def __init__(self, asker: Asker, picture: bytes) -> None:
        self._asker, self._picture = asker, picture
        self.history: list[tuple[str, str]] = []
        """Questions with their answers; those without one are left out."""

    def ask(self, text: str) -> Answer:
        question = Question(id=str(len(self.history)), text=text, images=(self._picture,), history=tuple(self.history))
        (answer,) = self._asker.ask([question])
        if answer.why is None and answer.text:
            self.history.append((text, answer.text))
        return answer


def refusal(why: Unanswered) -> PairmillError:
    """Why a question was not asked, for the person who asks it."""
    if why is Unanswered.too_long:
        return WrongRequest(
            "the conversation, its picture and an answer do not fit into the model's positions",
            "begin anew, or lower --max-new-tokens",
        )
    if why is Unanswered.control_token:
        return WrongRequest("words of the question are a control token of the model", "write them otherwise")
    if why is Unanswered.template_mismatch:
        return WrongRequest("the chat template does not take the question as it is", "write it otherwise")
    if why is Unanswered.no_words:
        return WrongRequest("the question has no words", "ask something")
    return WrongData(f"the picture cannot be shown to the model ({why.value})", "it is too thin: take another")
