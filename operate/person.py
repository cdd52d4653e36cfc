"""Everything that is stored about one user, to read it or to erase it."""

from operate.dynamo_erasure import DynamoEraser
from operate.stack import Stack


def person_of(stack: Stack) -> DynamoEraser:
    return DynamoEraser(
        stack.store,
        ledger_table=stack.ledger_table,
        sessions_table=stack.sessions_table,
        spend_table=stack.spend_table,
        texts=stack.texts,
    )
