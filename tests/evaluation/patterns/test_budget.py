"""A budget bounds one evaluation, and slow attempts over many."""

from proxy.evaluation.patterns.budget import Budget


def test_each_evaluation_begins_with_its_steps_and_quick_attempts() -> None:
    budget = Budget()
    budget.steps = budget.quick = 0

    budget.begin()

    assert (budget.steps, budget.quick) == (Budget().steps, Budget().quick)


def test_slow_attempts_come_back_one_in_five_evaluations() -> None:
    budget = Budget()
    taken = []
    for _ in range(50):
        budget.begin()
        taken.append(budget.take_slow())

    assert taken[:3] == [True, True, False]
    assert 9 <= sum(taken) <= 12


def test_slow_attempts_do_not_pile_up() -> None:
    budget = Budget()
    for _ in range(100):
        budget.begin()

    assert [budget.take_slow() for _ in range(3)] == [True, True, False]
