"""Benchmark tasks: each is a class and a file in conf/task/.

A new task is a class with `questions()` and `grade(question, answer)`:

    @dataclass
    class Riddles:
        path: str

        def questions(self) -> Iterator[Question]:
            for number, line in enumerate(Path(self.path).open()):
                yield Question(str(number), *line.strip().split("\t"))

        def grade(self, question: Question, answer: str) -> Grade:
            return Grade(answer.lower() == question.gold.lower(), read=bool(answer))

in any importable module, and conf/task/riddles.yaml with `_target_: my.module.Riddles` and its arguments.
"""
