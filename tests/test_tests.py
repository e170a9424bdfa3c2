"""The tests themselves: none passes without having checked anything, and they stand where one looks. Run: pytest tests/test_tests.py"""

import ast
from collections.abc import Iterator
from pathlib import Path

import tokenzoo

HERE, ROOT = Path(__file__).parent, Path(tokenzoo.__file__).parent
FILES = sorted(HERE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
#: What ends a test, or fails where nothing ends it.
ENDS = {"raises", "warns", "skip", "fail"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> list[Function]:
    return [n for n in ast.walk(tree) if isinstance(n, Function)]


def is_test(function: Function) -> bool:
    return function.name.startswith("test_")


def called(node: ast.AST) -> set[str]:
    """Names of what is called or passed on, without what stands before the last dot."""
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return names | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def says_something(node: ast.AST, checks: set[str]) -> bool:
    """Whether `node` can fail or skip: it asserts, or calls what does."""
    return any(isinstance(n, ast.Assert) for n in ast.walk(node)) or bool(called(node) & checks)


def checking_functions() -> set[str]:
    """Names of helpers that assert, themselves or through others, and of what fails in other libraries."""
    checks = {*ENDS, "assert_close", "assert_array_equal", "assert_allclose", "check_call"}
    helpers = [f for tree in TREES.values() for f in functions(tree) if not is_test(f)]
    while more := {f.name for f in helpers if f.name not in checks and says_something(f, checks)}:
        checks |= more
    return checks


CHECKS = checking_functions()


def before_returns(node: ast.AST, before: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """The statements that ran before each `return` of a function itself: those of its block, and of the blocks around it.

    Without those in `except`: that an error of this kind came, and no other, is what such a test wanted to know.
    """
    for _, value in ast.iter_fields(node):
        block = [s for s in value if isinstance(s, ast.stmt)] if isinstance(value, list) else []
        for at, statement in enumerate(block):
            so_far = [*before, *block[:at]]
            if isinstance(statement, ast.Return):
                yield so_far
            elif not isinstance(statement, Function | ast.ClassDef):
                yield from before_returns(statement, so_far)


def surely_checks(block: list[ast.stmt]) -> bool:
    """Whether some statement checks in any case: one behind an `if` may not, and a helper does so by the name of it."""
    for statement in block:
        checks = {name for name in called(statement) if name in ENDS or name.startswith(("check", "assert_", "close"))}
        if not isinstance(statement, ast.If) and (checks or any(isinstance(n, ast.Assert) for n in ast.walk(statement))):
            return True
    return False


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(HERE)}:{node.lineno}"


def test_every_test_checks_something():
    silent = [place(p, f) for p, tree in TREES.items() for f in functions(tree) if is_test(f) and not says_something(f, CHECKS)]
    assert not silent, silent


def test_no_test_returns_before_it_checked_anything():
    """`pytest.skip("why")` where a test has nothing to say of a case: a silent return counts as passed."""
    early = [
        place(p, f)
        for p, tree in TREES.items()
        for f in functions(tree)
        if is_test(f) and not all(map(surely_checks, before_returns(f, [])))
    ]
    assert not early, early


def test_no_assertion_is_off_for_a_name():
    """`assert ... or name == "x"` is no assertion for x: such cases are skipped, or listed with what holds for them."""
    weak = [
        place(p, n)
        for p, tree in TREES.items()
        for n in ast.walk(tree)
        if isinstance(n, ast.Assert) and isinstance(n.test, ast.BoolOp) and isinstance(n.test.op, ast.Or)
        if any(map(is_about_a_name, n.test.values))
    ]
    assert not weak, weak


def is_about_a_name(node: ast.expr) -> bool:
    """`... == "text"`."""
    texts = node.comparators if isinstance(node, ast.Compare) else []
    return any(isinstance(c, ast.Constant) and isinstance(c.value, str) for c in texts)


def test_nothing_depends_on_the_speed_of_the_machine():
    """No test measures time, and what waits does so for `waiting.PATIENCE_SECONDS`."""
    hurried = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            waits = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("join", "wait")
            limits = [k.value for k in node.keywords if k.arg == "timeout"] if isinstance(node, ast.Call) else []
            limits += node.args if waits else []
            measures = isinstance(node, ast.Attribute) and node.attr in ("perf_counter", "process_time")
            if measures or any(isinstance(v, ast.Constant) and isinstance(v.value, (int, float)) for v in limits):
                hurried.append(place(path, node))
    assert not hurried, hurried


# --- tests mirror the folders ---------------------------------------------------------------------------------------


def test_every_family_has_its_tests_and_tiny_forms_beside_them():
    folders = [p for kind in ("audio", "image") for p in (ROOT / "codecs" / kind).iterdir() if (p / "__init__.py").is_file()]
    assert len(folders) > 30
    for folder in folders:
        tests = HERE / folder.parent.name / folder.name
        assert (tests / "tiny.py").is_file(), f"{tests} holds no tiny.py with the family in tiny form"
        assert list(tests.glob("test_*.py")), f"{tests} holds no test of the family"


def test_every_loss_has_its_test():
    losses = {p.stem for p in (ROOT / "train" / "losses").glob("*.py")} - {"__init__", "base"}
    assert {p.stem.removeprefix("test_") for p in (HERE / "train" / "losses").glob("test_*.py")} >= losses
