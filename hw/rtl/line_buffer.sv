// The line buffer: rows are banks. One read of every bank at one address and three selections among the banks give a
// column of three samples, whatever the dilation. What was asked for is there two cycles later.
module line_buffer #(
    parameter int LANES        = 16,
    parameter int LINE_ROWS    = 16,
    parameter int LINE_VECTORS = 1024
) (
    input  logic                            clk,
    input  logic                            write,
    input  logic [$clog2(LINE_ROWS)-1:0]    write_row,
    input  logic [$clog2(LINE_VECTORS)-1:0] write_at,
    input  logic [8*LANES-1:0]              write_data,
    input  logic [$clog2(LINE_VECTORS)-1:0] read_at,
    // Of the three samples, the first lowest: the bank, and whether there is one.
    input  logic [3*$clog2(LINE_ROWS)-1:0]  read_row,
    input  logic [2:0]                      in_frame,
    input  logic [7:0]                      outside,
    output logic [3*8*LANES-1:0]            samples
);
    localparam int ROW_BITS = $clog2(LINE_ROWS);

    logic [8*LANES*LINE_ROWS-1:0] banks;
    logic [3*ROW_BITS-1:0] row;
    logic [2:0] there;

    for (genvar index = 0; index < LINE_ROWS; index++) begin : bank
        ram #(.WIDTH(8 * LANES), .DEPTH(LINE_VECTORS)) memory (
            .clk, .write(write && write_row == ROW_BITS'(index)), .write_at, .write_data,
            .read(1'b1), .read_at, .read_data(banks[8*LANES*index +: 8*LANES])
        );
    end

    always_ff @(posedge clk) begin
        row   <= read_row;
        there <= in_frame;
        for (int index = 0; index < 3; index++) begin
            samples[8*LANES*index +: 8*LANES] <= there[index] ?
                banks[8*LANES*32'(row[ROW_BITS*index +: ROW_BITS]) +: 8*LANES] : {LANES{outside}};
        end
    end
endmodule
