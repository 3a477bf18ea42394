// A FIFO between two processes. Its oldest word waits in a register, so that nobody's logic hangs on a memory's output.
module fifo #(
    parameter int WIDTH = 8,
    // A power of two; one more fits, in the register.
    parameter int DEPTH = 16,
    parameter     STYLE = "distributed"
) (
    input  logic             clk,
    input  logic             reset,
    input  logic             in_valid,
    output logic             in_ready,
    input  logic [WIDTH-1:0] in_data,
    output logic             out_valid,
    input  logic             out_ready,
    output logic [WIDTH-1:0] out_data
);
    localparam int BITS = $clog2(DEPTH);

    logic [BITS:0] written, taken;
    logic empty, move;

    assign empty = written == taken;
    assign in_ready = (written - taken) != (BITS + 1)'(DEPTH);
    assign move = !empty && (!out_valid || out_ready);

    ram #(.WIDTH(WIDTH), .DEPTH(DEPTH), .STYLE(STYLE)) memory (
        .clk,
        .write(in_valid && in_ready),
        .write_at(written[BITS-1:0]),
        .write_data(in_data),
        .read(move),
        .read_at(taken[BITS-1:0]),
        .read_data(out_data)
    );

    always_ff @(posedge clk) begin
        if (in_valid && in_ready) written <= written + 1'b1;
        if (move) begin
            taken <= taken + 1'b1;
            out_valid <= 1'b1;
        end else if (out_ready) begin
            out_valid <= 1'b0;
        end
        if (reset) begin
            written   <= '0;
            taken     <= '0;
            out_valid <= 1'b0;
        end
    end
endmodule
