"""DoPut: the Arrow stream of a client becomes one new version of a dataset, or nothing."""

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.flight as fl

from flight_core.application.queries.cancellation import Cancellation
from flight_core.application.writes.rows import NewRows, WriteDataset
from flight_core.domain.contract import report_document, report_in
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import Cancelled, UnreadableData
from flight_server.auth import DOOR, Call
from flight_server.commands import WRITE_HEADERS, write_command, write_rule
from schemas.flight import WriteCheck, WriteResult


class Upload:
    """The batches of one DoPut, each validated in full: lying offsets would crash whoever uses them."""

    def __init__(self, call: Call, reader: fl.MetadataRecordBatchReader) -> None:
        self._call = call
        self._reader = reader
        self.rows = 0

    def schema(self) -> pa.Schema:
        """Waits for the client to send it. Raises as iterating does."""
        try:
            return self._reader.schema
        except (pa.ArrowException, fl.FlightError, OSError) as error:
            raise self._failure(error) from None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """
        Raises:
            UnreadableData: the stream is damaged.
            Cancelled: the client went away; to Flight that looks like a proper end.
            Unauthenticated: the caller may not go on.
        """
        while (chunk := self._next()) is not None:
            self._call.scope.check()
            batch = chunk.data
            if batch is not None and batch.num_rows:
                self._validate(batch)
                self.rows += batch.num_rows
                yield batch
        if self._call.context.is_cancelled():
            raise Cancelled("the client went away before the end; nothing was written")

    def _next(self) -> fl.FlightStreamChunk | None:
        try:
            return self._reader.read_chunk()
        except StopIteration:
            return None
        except (pa.ArrowException, fl.FlightError, OSError) as error:
            raise self._failure(error) from None

    def _validate(self, batch: pa.RecordBatch) -> None:
        try:
            batch.validate(full=True)
        except pa.ArrowInvalid as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> UnreadableData | Cancelled:
        if self._call.context.is_cancelled():
            return Cancelled("the client went away before the end; nothing was written")
        first_line = str(error).partition("\n")[0][:300]
        return UnreadableData(f"the Arrow stream is damaged after {self.rows} rows: {first_line}")


def send_result(writer: fl.FlightMetadataWriter, result: bytes) -> None:
    """Tell the client what its DoPut did.

    Raises:
        Cancelled: it has gone; what it sent has taken effect.
    """
    try:
        writer.write(pa.py_buffer(result))
    except (pa.ArrowException, fl.FlightError, OSError):
        raise Cancelled("the client went away before it was told; what it sent has taken effect") from None


def header_options(call: Call) -> Mapping[str, str]:
    """What the headers of the call say of how rows are written, by the fields of `WriteCommand`."""
    given = {field: call.header(header) for header, field in WRITE_HEADERS.items()}
    return {field: text for field, text in given.items() if text}


def write(
    call: Call,
    descriptor: fl.FlightDescriptor,
    reader: fl.MetadataRecordBatchReader,
    write_dataset: WriteDataset,
) -> WriteResult:
    """Raises as `WriteDataset`, `Upload` and `write_command`."""
    command = write_command(descriptor, header_options(call))
    name = DatasetName(command.dataset)
    upload = Upload(call, reader)
    cancellation = Cancellation()
    call.scope.on_cancel(cancellation.request)
    version = write_dataset(
        name,
        NewRows(upload.schema(), upload, source=DOOR, message=command.message),
        write_rule(command),
        actor=call.actor,
        cancellation=cancellation,
    )
    report = report_in(version.commit_info)
    return WriteResult(
        dataset=name.value,
        version=version.ref.version,
        rows=upload.rows if report is None else report.rows - report.rejected_rows,
        total_rows=version.row_count,
        check=None if report is None else WriteCheck.model_validate(report_document(report)),
    )
