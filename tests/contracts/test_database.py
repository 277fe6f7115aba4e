"""What the catalog's database does on each of the servers."""

import pytest
import sqlalchemy as sa


def test_a_read_outlives_the_closing_of_the_database_and_leaves_no_connection(database):
    with database.read() as connection:
        database.close()
        assert connection.scalar(sa.text("SELECT 1")) == 1
        driver = connection.connection.dbapi_connection
    with pytest.raises(Exception, match="closed"):
        driver.cursor().execute("SELECT 1")
