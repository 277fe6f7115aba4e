"""What the catalog's database does on each of the servers."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa


def test_a_read_outlives_the_closing_of_the_database_and_leaves_no_connection(database):
    with database.read() as connection:
        database.close()
        assert connection.scalar(sa.text("SELECT 1")) == 1
        driver = connection.connection.dbapi_connection
    with pytest.raises(Exception, match="closed"):
        driver.cursor().execute("SELECT 1")


def test_what_anybody_has_committed_shows_in_the_stamp_however_many_look_at_once(database):
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE commits (number INTEGER)"))

    def commit_and_look(number: int) -> bool:
        before = database.stamp()
        with database.write() as connection:
            connection.execute(sa.text(f"INSERT INTO commits VALUES ({number})"))
        return before is None or database.stamp() != before

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(commit_and_look, range(200)))
